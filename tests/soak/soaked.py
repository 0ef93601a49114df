"""A run that faults come to one after the other, each time continued by the same command."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from tests.faults.proxy import Proxy
from tests.faults.run import Run, Unexpected
from tests.soak.plan import Shape

LONGEST_WAIT_S = 600.0  # nothing waits so long but on a machine that does not get to it


class Over(Exception):
    """The run has come to its end before the fault."""


class SoakedRun(Run):
    """A run and what is known of its losses."""

    def __init__(self, name: str, storage: str, proxy: Proxy, folder: Path, shape: Shape) -> None:
        super().__init__(name, storage, proxy, folder, shape.options)
        self.shape = shape
        self._mark = 0

    def begin(self, **streams: int) -> None:
        """Start the command; with ``streams`` of its own its console is not read."""
        self.is_heard = not streams
        self.start(workers=str(self.shape.workers), **streams)

    def go_on(self, **streams: int) -> None:
        """Start the command and wait until it trains."""
        before = self.begun()[0]
        self.begin(**streams)
        self.wait_for_attempt_after(before)

    def wait_for_attempt_after(self, number: int) -> None:
        self.wait_until(lambda: self.begun()[0] > number, "a new attempt")

    def wait_until(self, holds: Callable[[], bool], what: str, timeout_s: float = LONGEST_WAIT_S) -> None:
        """As a Run does. Raises Over if the run has come to its end meanwhile, and ended well."""
        try:
            super().wait_until(holds, what, timeout_s)
        except Unexpected:
            self.raise_if_over()
            raise

    def wait_for_more(self, than: int) -> None:
        """Wait for a checkpoint after step ``than``, or the end of the run."""
        more = min(self.shape.steps, than + 1)
        self.wait_until(lambda: self.newest() >= more, f"checkpoint after step {than}")

    def raise_if_over(self) -> None:
        if not self.is_alive() and self.wait() == 0 and self.store.exists("export/config.json"):
            raise Over

    def ended(self, *statuses: int) -> None:
        """Wait for the end of the command, which must have one of these statuses and one clear line."""
        status = self.wait(LONGEST_WAIT_S)
        if status not in statuses:
            self.raise_if_over()
            expected = " or ".join(map(str, statuses))
            raise Unexpected(f"ended with status {status}, not {expected}: {self.last_line()}")

    def begun(self) -> tuple[int, int]:
        """The number of the newest attempt that has come to train, and the step that it went on from."""
        for name in reversed(self.store.names("attempts")):
            record = json.loads(self.store.read(f"attempts/{name}"))
            if "start_step" in record:
                return int(name.partition(".")[0]), record["start_step"]
        return 0, 0

    def whole(self) -> list[int]:
        """Steps of the committed checkpoints without those that a fault has damaged, as long as they still are."""
        committed = self.committed()
        self.damaged = [step for step in self.damaged if step in committed and not self.read(step)]
        return [step for step in committed if step not in self.damaged]

    def mark(self) -> None:
        """What it says from here on is of the next fault."""
        self._mark = len(self.said())

    def heard(self) -> str:
        """What it has said since the mark."""
        return self.said()[self._mark :]

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """None of its processes runs."""
        processes = self.processes()
        _each(processes, psutil.Process.suspend)
        try:
            yield
        finally:
            _each(processes, psutil.Process.resume)

    @property
    def ballast(self) -> Path:
        """What its small disk is filled with."""
        return self.temporary / "ballast"

    def heal(self) -> None:
        """End all faults, so that the next one finds nothing of them."""
        self.proxy.rule = lambda request: "forward"
        self.proxy.cut()
        self.proxy.restore()
        self.ballast.unlink(missing_ok=True)


def _each(processes: Sequence[psutil.Process], do: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            do(process)
