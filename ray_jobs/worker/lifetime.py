"""An attempt at a run from its first to its last moment, as the first worker keeps it.

It begins when the store answers and has received what an earlier process left on this machine; it takes its number,
and compares options then. It ends when everything has arrived, in this order: metrics, pictures and checkpoints, the
export, and how the attempt ended.
"""

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

from aign.errors import UserError
from aign.storage.errors import StoreAway
from aign.training.notice import Notice
from ray_jobs.runs.checkpoints import FOLDER_NAME
from ray_jobs.runs.folder import finished_export
from ray_jobs.runs.job import Job
from ray_jobs.runs.same_run import check_same_run
from ray_jobs.storage.attempts import ATTEMPTS, Attempt, Recipe, Superseded, reason_of
from ray_jobs.storage.spool import Spool
from ray_jobs.worker.events import CheckpointSaved, Event, Message
from ray_jobs.worker.stopped import Stopped

SECONDS_TO_SEND_THE_REST = 60.0
"""Of a run that stops or fails; one that finishes has --store-patience."""
SECONDS_BETWEEN_TRIES = 2.0

T = TypeVar("T")
Tell = Callable[[Event], None]
Look = Callable[[], Notice]
Status = Literal["running", "finished", "stopped", "failed", "superseded"]


class Lifetime:
    """The attempt's number, its way to the run's folder, and the file that tells of it."""

    def __init__(self, job: Job, spool: Spool, attempt: Attempt, record: Mapping[str, Any]) -> None:
        self.job, self.spool, self.attempt = job, spool, attempt
        self._record = dict(record)

    def write_config(self, metadata: Mapping[str, Any]) -> None:
        """Write what the run is. Raises Superseded if a newer attempt has begun."""
        run = self.job.folder
        self.attempt.check_newest(run)
        run.write("config.json", json.dumps({**self.job.to_json(), "metadata": metadata}, indent=1).encode())
        self.attempt.release(run)

    def begin(self, start_step: int) -> None:
        """Write from which step on this attempt works."""
        self._record["start_step"] = start_step
        self.spool.put(self.attempt.path, json.dumps(self._record).encode())

    def end(self, status: Status, reason: str = "") -> None:
        """Write how this attempt ended; the first time counts."""
        if "ended" in self._record:
            return
        self._record |= {"status": status, "reason": reason, "ended": time.time()}
        text = json.dumps(self._record).encode()
        if self.spool.error is None:
            self.spool.put(self.attempt.path, text)
        else:  # it sends nothing any more
            self.job.folder.write(self.attempt.path, text)

    def send_all(self, look: Look) -> bool:
        """Wait until all has arrived, as long as there is patience; a run that is told to stop has less of it.

        Raises the UserError that has stopped the sending.
        """
        deadline = time.monotonic() + self.job.placement.store_patience
        told = False
        while not self.spool.flush(SECONDS_BETWEEN_TRIES):
            if self.spool.error is not None:
                raise self.spool.error
            if not told and look() == Notice.STOP:
                told, deadline = True, min(deadline, time.monotonic() + SECONDS_TO_SEND_THE_REST)
            if time.monotonic() > deadline:
                return False
        return True


class _NothingLeft(Exception):
    """The run has finished already."""


@contextmanager
def lifetime(job: Job, tell: Tell, look: Look, record: Mapping[str, Any]) -> Iterator[Lifetime | None]:
    """The next attempt at a run; None if the run has finished. ``record`` says who takes part.

    However it ends, that is written down, and what was put into its spool has arrived, or is said to wait.
    Raises UserError if the run in the folder is another one, AlreadyRuns if this machine is at it, StoreAway if the
    store is away for too long, Stopped if it is told to stop meanwhile.
    """
    place = job.placement
    patience_s = min(place.store_patience, place.collective_timeout_s / 2) if place.workers else place.store_patience
    record = {**record, "status": "running"}
    deadline = time.monotonic() + patience_s  # the other workers wait for the first one meanwhile
    patiently(lambda: job.folder.names(ATTEMPTS), deadline, tell, look)
    spool = open_spool(job, tell)
    try:
        if not spool.flush(max(0.0, deadline - time.monotonic())):  # it may be a checkpoint, to go on from
            raise spool.obstacle
        try:
            attempt = patiently(lambda: take(job, record), deadline, tell, look)
        except _NothingLeft:
            yield None
        else:
            spool.begin(attempt)
            with _ended(Lifetime(job, spool, attempt, record)) as own:
                yield own
    except BaseException:
        with contextlib.suppress(UserError):  # what happened first is what is raised
            spool.close(SECONDS_TO_SEND_THE_REST)
        raise
    spool.close(SECONDS_TO_SEND_THE_REST)


@contextmanager
def _ended(own: Lifetime) -> Iterator[Lifetime]:
    """Writes down which error has ended an attempt."""
    try:
        yield own
    except BaseException as error:
        with contextlib.suppress(UserError, StoreAway):
            own.end("superseded" if isinstance(error, Superseded) else "failed", reason_of(error))
        raise


def patiently(do: Callable[[], T], deadline: float, tell: Tell, look: Look) -> T:
    """What ``do`` returns, called again while the store is away; says so once.

    Raises StoreAway after the deadline, and Stopped when it is told to stop.
    """
    said = False
    while True:
        try:
            return do()
        except StoreAway as away:
            if time.monotonic() > deadline:
                raise
            if not said:
                said = True
                tell(Message(f"{away.observation}; the run waits for it"))
            if look() == Notice.STOP:
                raise Stopped("stopped before it trained", signal.SIGTERM) from None
            time.sleep(SECONDS_BETWEEN_TRIES)


def open_spool(job: Job, tell: Tell) -> Spool:
    """The way to the run's folder. It begins with what an earlier process left behind."""

    def arrived(path: str) -> None:
        if checkpoint := FOLDER_NAME.fullmatch(path.removeprefix("checkpoints/")):
            tell(CheckpointSaved(int(checkpoint[1])))

    return Spool.on_this_machine(job.folder, lambda text: tell(Message(text)), arrived)


def take(job: Job, record: Mapping[str, Any]) -> Attempt:
    """The next attempt at a run, which is the same run and has not finished."""

    def check(claimed: Sequence[Recipe]) -> None:
        check_same_run(job, claimed)
        if finished_export(job):
            raise _NothingLeft

    return Attempt.take(job.folder, job.run.recipe(), check, record)
