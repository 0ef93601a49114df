"""Ending work early on purpose: a signal that asks a process to go lets it save first; a second one ends it at once.

What has nothing to save, such as a command that still imports PyTorch, ends at once in one line.

SIGINT is Ctrl-C, SIGHUP a terminal that was closed; SIGQUIT keeps its meaning, which is to end at once.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from ray_jobs.worker.stopped import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_ended_by: int | None = None
"""The signal that was to end this process; a library whose import catches everything may have prevented it."""


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
        self.signum = _ended_by
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


def end_at_signals() -> dict[int, Any]:
    """From now on a signal ends this process in one line and with the signal's status; returns who listened before.

    A signal that the process was started to ignore stays ignored, as ``nohup`` and a shell's ``&`` want it.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    heard = [signum for signum in SIGNALS if signal.getsignal(signum) != signal.SIG_IGN]
    return {signum: signal.signal(signum, _end) for signum in heard}


@contextmanager
def ending_at_signals() -> Iterator[None]:
    """``end_at_signals`` while a command runs; a StopSignal in it goes before."""
    with _restoring(end_at_signals()):
        yield


@contextmanager
def raising_at_ctrl_c() -> Iterator[None]:
    """Ctrl-C is a KeyboardInterrupt again, for work that has something to say then."""
    here = threading.current_thread() is threading.main_thread()
    with _restoring({signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler)} if here else {}):
        yield


@contextmanager
def _restoring(handlers: dict[int, Any]) -> Iterator[None]:
    try:
        yield
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)


def _end(signum: int, frame: FrameType | None) -> None:
    global _ended_by
    _ended_by = signum
    signal.signal(signum, signal.SIG_DFL)  # once more ends it without what follows
    with suppress(OSError):  # not print: this may come in the middle of one
        os.write(2, f"ended by {signal.Signals(signum).name}; what it had not written yet is lost\n".encode())
    raise SystemExit(128 + signum)
