"""What only tells a person how work goes: it may fail, but it never ends or shortens the work.

Two mechanisms, one for streams and one for everything else that work calls to tell: console, pictures, gauges, reports.
"""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ParamSpec

P = ParamSpec("P")
NOBODY_LISTENS = {errno.EPIPE, errno.EIO}
"""The reader of a pipe has gone, or the terminal."""


def note(text: str) -> None:
    """Tell a person, beside what a command prints for other programs."""
    print(text, file=sys.stderr)


def harmless(what: str, tell: Callable[P, Any], say: Callable[[str], None] = note) -> Callable[P, None]:
    """``tell``, for work to call. What goes wrong in it is said once, and the work goes on."""
    said = False

    def told(*args: P.args, **kwargs: P.kwargs) -> None:
        nonlocal said
        try:
            tell(*args, **kwargs)
        except Exception as error:
            if not said:
                said = True
                say(
                    f"warning: {what} failed ({type(error).__name__}: {' '.join(str(error).split())}); the work goes on"
                )

    return told


@contextlib.contextmanager
def streams_that_hold() -> Iterator[None]:
    """Around a command: standard output and standard error take all that is written, whoever listens."""
    before = sys.stdout, sys.stderr
    out, err = _Stream(before[0]), _Stream(before[1])
    sys.stdout, sys.stderr = out, err  # type: ignore[assignment]
    try:
        yield
    finally:
        out.flush()
        if out.lost and out.lost.errno not in NOBODY_LISTENS:
            note(f"warning: standard output cannot be written ({out.lost.strerror}); the rest of it is lost")
        err.flush()
        sys.stdout, sys.stderr = before


class _Stream:
    """A text stream that never fails: characters that it does not know are replaced, and what nobody reads is lost."""

    def __init__(self, stream: Any) -> None:
        """``stream`` is None in a process that was started without one."""
        self._stream: Any = stream or io.StringIO()
        self.lost: OSError | None = None
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")

    def write(self, text: str) -> int:
        self._unless_lost(lambda: self._stream.write(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._unless_lost(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _unless_lost(self, use: Callable[[], Any]) -> None:
        if self.lost:
            return
        try:
            use()
        except OSError as error:
            self.lost = error
            with contextlib.suppress(OSError):  # what is in its buffer must not fail when the process ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
