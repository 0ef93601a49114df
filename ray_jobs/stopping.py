"""Ending a run early on purpose: the first SIGTERM or Ctrl-C asks it to save and end, the second ends at once."""

import os
import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """A run has saved and ended early, as it was asked to. Commands say so and exit as a signal's victim does."""

    def __init__(self, how_far: str, signum: int) -> None:
        """``how_far`` says where it stopped."""
        super().__init__(f"{how_far}; the same command goes on from there")
        self.status = 128 + signum


class StopSignal:
    """Which signal asked this process to stop, while this is entered (in the main thread; elsewhere none is heard)."""

    TEXT = "stopping: what was learnt is saved and sent first; once more to end at once"

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.signal(signum, self._ask) for signum in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self.signum = signum
