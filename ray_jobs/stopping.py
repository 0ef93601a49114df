"""Ending work early on purpose: a signal that asks a process to go lets it save first; a second one ends it at once.

SIGINT is Ctrl-C, SIGHUP a terminal that was closed; SIGQUIT keeps its meaning, which is to end at once.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopped(Exception):
    """A run has saved and ended early, as it was asked to. Commands say so and exit as a signal's victim does."""

    def __init__(self, how_far: str, signum: int) -> None:
        """``how_far`` says where it stopped."""
        super().__init__(f"{how_far}; the same command goes on from there")
        self.how_far, self.signum = how_far, signum
        self.status = 128 + signum

    def __reduce__(self):
        return type(self), (self.how_far, self.signum)


class _BrokenOff(BaseException):
    """Not an Exception: what it passes through is not to take it for a failure."""


class StopSignal:
    """Which signal asked this process to stop, while this is entered (in the main thread; elsewhere none is heard)."""

    TEXT = "stopping: what was learnt is saved and sent first; once more to end at once"

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[int, Any] = {}
        self._asked_before = self._breaks_off = False

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: self._heard(signum) for signum in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    @contextmanager
    def breaking_off(self, what: str) -> Iterator[None]:
        """Around a start in which there is nothing to save yet: a signal ends it at once, with Stopped."""
        self._breaks_off = bool(self._before) and threading.current_thread() is threading.main_thread()
        try:
            if not self.signum:
                yield
        except _BrokenOff:
            pass
        except SystemExit:  # of a handler that Ray has put in place of ours while it starts
            self.signum = self.signum or signal.SIGTERM
        finally:
            self._breaks_off = False
        if self.signum:
            raise Stopped(f"{what} stopped before it started", self.signum)

    def _heard(self, signum: int) -> Any:
        """Listen to a signal; returns who did before. ``nohup`` means that SIGHUP is not to be heard."""
        before = signal.getsignal(signum)
        if not (signum == signal.SIGHUP and before == signal.SIG_IGN):
            signal.signal(signum, self._ask)
        return before

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        again, self._asked_before = self._asked_before, self._asked_before or signum != signal.SIGHUP
        if again and signum != signal.SIGHUP:  # a terminal that closes sends several, and often SIGTERM too
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self.signum = self.signum or signum
        if self._breaks_off:
            self._breaks_off = False
            raise _BrokenOff
