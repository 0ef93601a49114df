"""Errors that say in one line what a person, not a programmer, can mend."""

import difflib
import os
import sysconfig
import traceback
from collections.abc import Iterable

_LIBRARIES = tuple(sysconfig.get_path(kind) + os.sep for kind in ("stdlib", "platstdlib", "purelib", "platlib"))

OTHER_WORDS = {
    "lr": ("generator-lr", "discriminator-lr"),
    "learning-rate": ("generator-lr", "discriminator-lr"),
    "epochs": ("steps",),
    "num-epochs": ("steps",),
    "max-steps": ("steps",),
    "max-epochs": ("steps",),
    "iterations": ("steps",),
    "bs": ("batch-size",),
    "per-device-train-batch-size": ("batch-size",),
    "gradient-accumulation-steps": ("accumulate",),
    "accumulate-grad-batches": ("accumulate",),
    "gradient-clip-val": ("clip",),
    "max-grad-norm": ("clip",),
    "grad-clip": ("clip",),
    "fp16": ("precision",),
    "bf16": ("precision",),
    "amp": ("precision",),
    "lr-scheduler": ("lr-schedule",),
    "ema-decay": ("ema",),
    "gpus": ("workers", "device"),
    "num-gpus": ("workers", "device"),
    "nproc-per-node": ("workers",),
    "num-workers": ("workers",),
    "accelerator": ("device",),
    "resume": ("name",),
    "resume-from-checkpoint": ("name",),
    "run-name": ("name",),
    "exp-name": ("name",),
    "checkpoint": ("from",),
    "ckpt": ("from",),
    "ckpt-path": ("from",),
    "pretrained": ("from",),
    "init-from": ("from",),
    "output": ("storage", "out"),
    "output-dir": ("storage", "out"),
    "out-dir": ("storage", "out"),
    "save-dir": ("storage",),
    "logdir": ("storage",),
    "log-dir": ("storage",),
    "data-dir": ("source",),
    "data-path": ("source",),
    "dataset": ("data",),
}
"""How other programs call some of our options."""


class Explained(Exception):
    """Says the value that it is about, the reason and the remedy in one line. Commands print it as ``error: ...``."""

    def __init__(self, value: object, reason: str, remedy: str) -> None:
        self.value, self.reason, self.remedy = value, reason, remedy
        super().__init__(f"{value}: {reason}; {remedy}")

    def __reduce__(self):  # an exception with three arguments does not survive a process boundary by itself
        return type(self), (self.value, self.reason, self.remedy)


class UserError(Explained):
    """A mistake in an option, a file or a place. Commands exit with status 2; nothing has been changed."""


class NotTrainable(UserError):
    """The values of a run cannot be trained: they are refused together, or a loss term of theirs is not finite.

    Only this counts as a failed trial of a sweep; every other error is that of the place where the trial ran.
    """


def last_line(text: str) -> str:
    """The end of an error's text, which is what went wrong where the text is another process's traceback."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason was given"


def where_raised(error: BaseException) -> str:
    """The line of a task or network in which a library has raised an error: " (at FILE:LINE)".

    Empty for errors that are raised on purpose, which say themselves what is wrong.
    """
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not _is_library(frames[-1].filename):
        return ""
    own = [frame for frame in frames if not _is_library(frame.filename)]
    return f" (at {own[-1].filename}:{own[-1].lineno})" if own else ""


def _is_library(file: str) -> bool:
    return file.startswith(_LIBRARIES) or not os.path.isabs(file)  # code that was made while running has no file


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """The remedy for a misspelt word: its name here, the nearest of those that are known, or all of them."""
    word = str(given)
    words = {other.lower(): other for other in known}
    ours = OTHER_WORDS.get(_plain(word), ())
    if here := [other for other in words.values() if _plain(other) in ours]:
        return f"use {' and '.join(here)}"
    near = [] if ours else difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.4)
    return f"did you mean {words[near[0]]}?" if near else f"choose one of {', '.join(sorted(words.values()))}"


def _plain(word: str) -> str:
    """A word without what distinguishes an option from a field."""
    return word.lower().lstrip("-").replace("_", "-")
