"""What ``make gpu`` consists of: parts, each a process of its own with a limit of time, which end one by one.

A part is a function that yields checks: what is compared, and a function that does it. A check that fails, in whatever
way, is a row; the checks after it are still made.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass

import torch

from aign.errors import last_line
from tests.gpu.table import ROOT, Row

Verdict = tuple[bool | None, str]
"""Whether it passed (None: it cannot fail), and a figure that says how near or how quick."""
Check = tuple[str, Callable[[], Verdict]]


@dataclass(frozen=True)
class Place:
    """What a part computes on."""

    device: torch.device
    small: bool
    """Whether sizes are such that a CPU is done in seconds."""


@dataclass(frozen=True)
class Part:
    """Where its function is, and how long it may take."""

    where: str
    """MODULE:FUNCTION; the module is imported in the part's own process only."""
    seconds: float


PARTS = {
    "library": Part("tests.gpu.library:library", 100),
    "equality": Part("tests.gpu.equality:equality", 90),
    "precision": Part("tests.gpu.networks:precision", 25),
    "acceleration": Part("tests.gpu.networks:acceleration", 70),
    "offload": Part("tests.gpu.states:offload", 25),
    "checkpoints": Part("tests.gpu.states:checkpoints", 30),
    "speed": Part("tests.gpu.speed:speed", 80),
    "ray": Part("tests.gpu.ray_run:ray_run", 60),
}


def run_parts(parts: Mapping[str, Part], device: torch.device, seconds: float) -> Iterator[Row]:
    """The rows of all parts, in their order; together they take no longer than so many seconds."""
    end = time.monotonic() + seconds
    for name, part in parts.items():
        yield from _run_part(name, part, device, min(part.seconds, end - time.monotonic()))


def _run_part(name: str, part: Part, device: torch.device, seconds: float) -> Iterator[Row]:
    if seconds <= 0:
        yield Row(name, "all of it", False, "no time was left")
        return
    command = [sys.executable, "-m", "tests.gpu.parts", name, part.where, device.type]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        try:
            said, _ = process.communicate(timeout=seconds)
            failure = f"its process ended with status {process.returncode}" if process.returncode else ""
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            failure = f"its {seconds:.0f} s were over"
    for line in said.splitlines():
        if line.startswith(MARK):
            yield Row(**json.loads(line.removeprefix(MARK)))
    if failure:
        yield Row(name, "the rest", False, failure)


MARK = "row of make gpu: "


def main(name: str, where: str, device: str) -> None:
    """The process of a part: tells each row as soon as it is known."""
    module, _, function = where.partition(":")
    place = Place(torch.device(device), small=device == "cpu")
    for compared, check in getattr(importlib.import_module(module), function)(place):
        try:
            passed, figure = check()
        except Exception as error:
            traceback.print_exc()
            passed, figure = False, last_line(f"{type(error).__name__}: {error}")
        print(MARK + json.dumps(asdict(Row(name, compared, passed, figure))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
