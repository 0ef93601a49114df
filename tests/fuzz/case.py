"""A case: files that are laid down, what is called with them, and how that ended."""

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from random import Random
from typing import Any


class Outcome(StrEnum):
    """How a case ended; all but the first two are faults."""

    REFUSED = "refused"
    """One line, ``error: value: reason; remedy``, and status 2, or in Python the UserError."""
    ACCEPTED = "accepted"
    TAKEN = "nonsense taken"
    """Accepted, although the generator knows that it means nothing."""
    SPOILT = "sound refused"
    """Refused, although the rest of what was given is sound: one damaged run among others, say."""
    LATE = "late refusal"
    """The dry run passed, and the same command without it did not."""
    RAW = "raw message"
    """Words of Python, PyTorch or NumPy, temporary paths, a line without remedy, or status 1."""
    TRACEBACK = "traceback"
    HANG = "hang"
    CHANGED = "changed files"
    """A refused command wrote something, one that only reads changed something, or a part of a file was left."""
    RAN_CODE = "ran code"
    BROKEN = "broken case"
    """Its own files could not be laid down: a fault of these tests."""

    @property
    def is_fault(self) -> bool:
        return self not in (Outcome.REFUSED, Outcome.ACCEPTED)


class LateRefusal(BaseException):
    """A command ended with another status than its dry run. No Exception: nothing in between may take it."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """What is called once the files of a case lie there."""

    run: Callable[[], Any]
    shown: str
    """As a person would write it."""
    nonsense: bool = False
    """It has to be refused."""
    sound: bool = False
    """It has to be accepted."""
    traces: tuple[str, ...] = ()
    """Starts of paths, in the case's folder, that may change whatever happens: the run that a training writes."""
    results: tuple[str, ...] = ()
    """Starts of paths that may change if it is accepted."""

    def expected(self, outcome: Outcome) -> Outcome:
        """Accepted and refused, as they are judged by what the generator knows."""
        if outcome is Outcome.ACCEPTED and self.nonsense:
            return Outcome.TAKEN
        return Outcome.SPOILT if outcome is Outcome.REFUSED and self.sound else outcome


Lay = Callable[[Path], Call]
"""Writes the files of a case into an empty folder, where it is called."""


@dataclass(frozen=True)
class Field:
    """One kind of input: named cases that once were faults, and a generator of others."""

    draw: Callable[[Random, Path], Call]
    corpus: Mapping[str, Lay] = field(default_factory=dict)


def command(*words: object, **about: Any) -> Call:
    """``aign VERB ...``, run in this process."""
    argv = [str(word) for word in words]
    return Call(run=partial(_run_command, argv), shown=f"aign {shlex.join(argv)}", **about)


def command_after_dry_run(*words: object, **about: Any) -> Call:
    """The command with ``--dry-run``, and where that passes the command itself."""
    argv = [str(word) for word in words]

    def run() -> None:
        _run_command([*argv, "--dry-run"])
        try:
            _run_command(argv)
        except BaseException as error:
            if not isinstance(error, SystemExit) or not error.code:
                raise
            raise LateRefusal(error.code) from error

    return Call(run=run, shown=f"aign {shlex.join(argv)}, after a dry run", **about)


def function(called: Callable, *values: Any, shown: str = "", **about: Any) -> Call:
    """A function of the library, called with some values."""
    own = {name: about.pop(name) for name in ("nonsense", "sound", "traces", "results") if name in about}
    arguments = [*map(_short, values), *(f"{name}={_short(value)}" for name, value in about.items())]
    name = f"{called.__module__}.{called.__qualname__}"
    return Call(run=partial(called, *values, **about), shown=shown or f"{name}({', '.join(arguments)})", **own)


def fixed(make: Callable[..., Call], *values: Any, **about: Any) -> Lay:
    """A case without files."""
    return lambda folder: make(*values, **about)


def _run_command(argv: Sequence[str]) -> None:
    from ray_jobs.cli.console import main

    sys.argv = ["aign", *argv]
    main()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 200 else f"{text[:200]}... ({len(text)} characters)"
