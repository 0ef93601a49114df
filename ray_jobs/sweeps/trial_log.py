"""What a sweep knows of its trials: a file for each in storage, written as it goes, and one table of all.

SWEEP/sweep.json                 what is searched, and how
SWEEP/attempts/001.json          who works on it: only the newest command does
SWEEP/trials/007/trial.json      point, path, results and status of a trial
SWEEP/trials/007/0/              its run, a RUN as any other; a member of a population may have several
SWEEP/trials.csv, report.html    all trials
"""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import pandas as pd
from typing_extensions import TypedDict

from aign.errors import UserError
from aign.storage.store import Store
from aign.stored import read_json
from ray_jobs.storage.attempts import Attempt
from ray_jobs.storage.spool import Spool
from ray_jobs.sweeps.plan import SWEEP_FILE, Sweep, trial_folder
from ray_jobs.sweeps.space import Point

Status = Literal["waiting", "running", "finished", "stopped", "failed", "crashed"]
"""stopped: by the scheduler; failed: its values cannot be trained; crashed: all else, so it is tried again."""
OVER = ("finished", "stopped", "failed")
TRIAL_FILE = "trial.json"
SECONDS_TO_SEND = 60.0


class StoredSegment(TypedDict):
    """A part of a trial's path as JSON holds it (``ray_jobs.sweeps.trial.Segment``)."""

    run: str
    values: dict[str, str]
    step: int
    clock: int


@dataclass(frozen=True, kw_only=True)
class Record:
    """A trial so far."""

    trial: int
    point: Point
    status: Status = "waiting"
    path: list[StoredSegment] = field(default_factory=list)
    objective: float | None = None
    step: int = 0
    clock: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    measured_on: dict[str, Any] = field(default_factory=dict)
    history: list[tuple[int, float]] = field(default_factory=list)
    """Clock and objective of every evaluation."""
    reason: str = ""
    seconds: float = 0.0
    """How long it has run, all attempts together."""

    @property
    def is_over(self) -> bool:
        return self.status in OVER

    def after(self, result: dict[str, Any], seconds: float) -> "Record":
        """With what a result says."""
        known = {key: result[key] for key in ("path", "metrics", "measured_on", "step", "clock") if key in result}
        if "reason" in result:
            return replace(self, **known, status="failed", reason=result["reason"], seconds=seconds)
        if "broken" in result:
            return replace(self, **known, status="crashed", reason=result["broken"], seconds=seconds)
        objective = result["objective"]
        history = [(clock, value) for clock, value in self.history if clock < result["clock"]]
        history += [(result["clock"], objective)]
        return replace(self, **known, status="running", objective=objective, history=history, seconds=seconds)

    @property
    def run(self) -> str:
        """The folder, in the sweep's, of the run that it has come to."""
        return self.path[-1]["run"] if self.path else ""


class TrialLog:
    """All records of a sweep, in memory and, a moment later, in storage."""

    def __init__(self, sweep: Sweep, say: Callable[[str], None]) -> None:
        self.sweep = sweep
        folder = sweep.folder
        self.broken = ""
        """Why no trial can go on, and the sweep must end; empty as long as they can."""
        self._spool = Spool.on_this_machine(folder, say)
        self._began: dict[int, float] = {}
        try:
            self._take_over(say)
        except BaseException:
            with contextlib.suppress(UserError):  # what happened first is what is raised
                self._spool.close(0)
            raise

    def _take_over(self, say: Callable[[str], None]) -> None:
        """From here on commands that work on this sweep elsewhere are superseded, and end.

        Raises UserError if theirs is another sweep, and StoreAway.
        """
        folder = self.sweep.folder
        if not self._spool.flush(SECONDS_TO_SEND):
            raise self._spool.obstacle
        began = {"began": time.time(), "host": socket.gethostname()}
        attempt = Attempt.take(folder, self.sweep.recipe, self.sweep.check_existing, began)
        self._spool.begin(attempt)
        found = read_records(folder, lambda damage: say(f"skipped a damaged record: {damage}"))
        self.records = {record.trial: record for record in found}
        self.put(SWEEP_FILE, json.dumps(self.sweep.to_json(), indent=1).encode())
        if self._spool.flush(SECONDS_TO_SEND):  # which says the same as the claim
            attempt.release(folder)

    def find_finished(self) -> None:
        """Trials whose run finished while nobody wrote it down are finished."""
        for record in list(self.records.values()):
            if record.is_over or not record.run:
                continue
            result = self.sweep.at_the_end(record.run)
            if result:
                self._write(replace(record.after(result, record.seconds), status="finished"))

    def is_over(self, trial: int) -> bool:
        return trial in self.records and self.records[trial].is_over

    def in_order(self) -> list[Record]:
        return sorted(self.records.values(), key=lambda record: record.trial)

    def begin(self, trial: int, point: Point) -> None:
        record = self.records.get(trial) or Record(trial=trial, point=point)
        self._began.setdefault(trial, time.monotonic() - record.seconds)
        self._write(replace(record, point=point, status="running", reason=""))

    def result(self, trial: int, result: dict[str, Any]) -> Record:
        self.broken = self.broken or result.get("broken", "")
        return self._write(self.records[trial].after(result, self._seconds(trial)))

    def end(self, trial: int, status: Status, reason: str = "") -> Record:
        record = self.records[trial]
        if record.status in ("failed", "crashed"):  # its last result said so
            return record
        return self._write(replace(record, status=status, reason=reason, seconds=self._seconds(trial)))

    def put(self, path: str, data: bytes) -> None:
        """A file for the sweep's folder. What the disk or the store refuses for good ends the sweep, in ``broken``."""
        try:
            self._spool.put(path, data, fenced=True)
        except UserError as error:
            self.broken = self.broken or str(error)
        self.broken = self.broken or str(self._spool.error or "")

    def close(self) -> None:
        """Send the rest; what has not arrived is ``broken`` too."""
        self.put("trials.csv", table(self.in_order()).to_csv(index=False).encode())
        try:
            self._spool.close(SECONDS_TO_SEND)
        except UserError as error:
            self.broken = self.broken or str(error)
        if self._spool.num_waiting:
            self.broken = self.broken or f"{self._spool.num_waiting} results have not arrived"

    def _seconds(self, trial: int) -> float:
        return round(time.monotonic() - self._began[trial], 1)

    def _write(self, record: Record) -> Record:
        self.records[record.trial] = record
        self.put(f"{trial_folder(record.trial)}/{TRIAL_FILE}", json.dumps(asdict(record)).encode())
        return record


def read_records(folder: Store, skip: Callable[[UserError], None] = lambda damage: None) -> list[Record]:
    """The records of a sweep in storage; ``skip`` is told which cannot be read: those trials are tried again."""
    records = []
    for name in folder.names("trials"):
        path = f"trials/{name}/{TRIAL_FILE}"
        try:
            records.append(read_json(folder.read(path), f"{folder.uri}/{path}", Record, "its trial is tried again"))
        except FileNotFoundError:
            continue
        except UserError as damage:
            skip(damage)
    return records


def table(records: Iterable[Record]) -> pd.DataFrame:
    """One row a trial: what was tried, and what came of it."""
    rows = [
        {
            "trial": record.trial,
            "status": record.status,
            "objective": record.objective,
            "step": record.step,
            **(record.path[-1]["values"] if record.path else {}),
            **{f"metric/{name}": value for name, value in record.metrics.items()},
            "seconds": record.seconds,
            "run": record.run,
            "reason": record.reason,
        }
        for record in records
    ]
    return pd.DataFrame(rows)
