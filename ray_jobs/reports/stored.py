"""A run as its folder tells of it: how it stands, who worked on it and what that cost."""

import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NotRequired

from pydantic import FiniteFloat, NonNegativeInt
from typing_extensions import TypedDict

from aign.errors import UserError
from aign.storage.store import Store
from aign.stored import read_json
from aign.training.run_config import find_task
from ray_jobs.reports.history import READERS, History, Line, Skipped, Step, read_lines
from ray_jobs.runs.compression_rounds import PROJECTION
from ray_jobs.runs.folder import StoredJob, read_config, read_export
from ray_jobs.storage.attempts import attempt_numbers, record_path

SECONDS_OF_SILENCE = 600.0
"""After which a run that has not ended is no longer believed to be running."""
PICTURE = re.compile(r"step_(\d{7,})\.png")
PNG_BEGIN, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
THE_REST = "the rest of the run is shown"


class StoredAttempt(TypedDict):
    """RUN/attempts/NUMBER.json, as far as a report needs it."""

    workers: NonNegativeInt
    device: NotRequired[str]
    zero_stage: NotRequired[int | None]
    start_step: NotRequired[Step]
    """Missing in one that ended before it trained."""
    began: NotRequired[FiniteFloat]
    ended: NotRequired[FiniteFloat]
    status: NotRequired[str]
    """running, finished, stopped, failed or superseded."""
    reason: NotRequired[str]


Placement = tuple[int, int, int | None]
"""Workers, their GPUs and the ZeRO stage: what decides how long a step of a run takes."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One group of workers, from its start to its end."""

    number: int
    workers: int
    gpus: int
    """GPUs of all workers."""
    zero_stage: int | None
    start_step: int | None
    """None in one that ended before it trained."""
    last_step: int | None
    began: float
    """Unix time, s."""
    heard: float
    """When it ended, or the last sign of it, s."""
    ended: bool
    """Whether it said that it ended; one that is cut off does not."""
    status: str = ""
    """How it said that it ended."""
    reason: str = ""
    """Why, if it failed."""

    @classmethod
    def of(cls, number: int, record: StoredAttempt, lines: Sequence[Line]) -> "Attempt":
        """From RUN/attempts/NUMBER.json and its lines of metrics."""
        times = [line["time"] for line in lines]
        times += [time for time in (record.get("began"), record.get("ended")) if time is not None]
        return cls(
            number=number,
            workers=record["workers"],
            gpus=record["workers"] * (record.get("device") == "cuda"),
            zero_stage=record.get("zero_stage"),
            start_step=record.get("start_step"),
            last_step=max((line["step"] for line in lines), default=record.get("start_step")),
            began=min(times, default=0.0),
            heard=max(times, default=0.0),
            ended="ended" in record,
            status=record.get("status", ""),
            reason=record.get("reason", ""),
        )

    @property
    def placement(self) -> Placement:
        return self.workers, self.gpus, self.zero_stage

    @property
    def hours(self) -> float:
        return (self.heard - self.began) / 3600


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What runs took. A worker that is cut off counts up to its last line of metrics."""

    worker_hours: float
    gpu_hours: float

    @classmethod
    def of(cls, attempts: Sequence[Attempt]) -> "Cost":
        return cls(
            worker_hours=sum(attempt.hours * attempt.workers for attempt in attempts),
            gpu_hours=sum(attempt.hours * attempt.gpus for attempt in attempts),
        )

    def rows(self, price: float | None) -> list[tuple[str, str]]:
        """What is paid with: workers' hours, GPUs' if there are any, and money if there is a price."""
        rows = [("worker-hours", f"{self.worker_hours:.3g}")]
        if self.gpu_hours:
            rows.append(("GPU-hours", f"{self.gpu_hours:.3g}"))
        if price is not None:
            rows.append((f"at {price:g} a worker-hour", f"{self.worker_hours * price:,.2f}"))
        return rows


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """Everything that a report tells of one run."""

    folder: Store
    config: StoredJob
    attempts: Sequence[Attempt]
    history: History
    finished: bool
    skipped: Skipped
    """What of it could not be read, as far as it has been looked at."""

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def cost(self) -> Cost:
        return Cost.of(self.attempts)

    def status(self) -> tuple[str, str]:
        """How it stands, in a word and in a few more."""
        step = self.history.step
        if self.finished:
            return "finished", f"after {step} steps"
        if not self.attempts:
            return "not begun", ""
        last = self.attempts[-1]
        silence = time.time() - last.heard
        if last.status == "failed":
            return "failed", f"at step {step}, {duration(silence)} ago: {last.reason or 'no reason was given'}"
        if last.ended:
            return "stopped", f"at step {step}, {duration(silence)} ago; the command that began it goes on"
        if silence < SECONDS_OF_SILENCE:
            return "running", f"at step {step}, last heard of {duration(silence)} ago"
        return "silent", f"at step {step}: it has not ended, but was last heard of {duration(silence)} ago"

    def pictures(self, most: int) -> list[tuple[int, bytes]]:
        """Steps and PNG pictures over the run: the last one and, of more than one, the first and some in between."""
        steps = [(int(match[1]), name) for name in self.folder.names("pictures") if (match := PICTURE.fullmatch(name))]
        count, last = min(most, len(steps)), len(steps) - 1
        chosen = [steps[last - i * last // max(1, count - 1)] for i in reversed(range(count))]
        return [(step, png) for step, name in chosen if (png := self._picture(f"pictures/{name}"))]

    def _picture(self, path: str) -> bytes | None:
        try:
            content = self.folder.read(path)
            if not (content.startswith(PNG_BEGIN) and content.endswith(PNG_END)):
                raise UserError(f"{self.folder.uri}/{path}", "is not a whole PNG picture", THE_REST)
            return content
        except FileNotFoundError:
            return None
        except UserError as error:
            self.skipped.append(error)
            return None


def read_run(folder: Store) -> StoredRun:
    """A run, with whatever cannot be read of it put into its ``skipped``.

    Raises UserError if the folder is not a run, or its config.json is damaged or of an unknown task.
    """
    config = read_config(folder)
    find_task(config["task"])
    skipped: Skipped = []
    lines = read_lines(folder, skipped)
    attempts = read_attempts(folder, lines, skipped)
    return StoredRun(
        folder=folder,
        config=config,
        attempts=attempts,
        history=History.of(lines, {a.number: a.start_step for a in attempts if a.start_step is not None}),
        finished=_has_finished(folder, skipped),
        skipped=skipped,
    )


def _has_finished(folder: Store, skipped: Skipped) -> bool:
    try:
        return read_export(folder) is not None
    except UserError as error:
        skipped.append(error)
        return True


def read_attempts(run: Store, lines: Mapping[int, Sequence[Line]], skipped: Skipped | None = None) -> list[Attempt]:
    """All attempts at a run, in order; those that cannot be read are left out and put into ``skipped``."""
    skipped = [] if skipped is None else skipped
    found = []
    for number in attempt_numbers(run):
        path = record_path(number)
        try:
            record = read_json(run.read(path), f"{run.uri}/{path}", StoredAttempt, THE_REST)
            found.append(Attempt.of(number, record, lines.get(number, [])))
        except UserError as error:
            skipped.append(error)
    return found


def find_runs(folder: Store) -> list[Store]:
    """Runs under a folder, trials and rounds of projection too; what is no run is passed over."""
    found: list[Store] = []
    level = [folder]
    with ThreadPoolExecutor(READERS) as pool:
        while level:
            children = [store for stores in pool.map(_children, level) for store in stores]
            level = []
            for store, config in zip(children, pool.map(_config, children), strict=True):
                if config is None:
                    level.append(store)
                    continue
                found.append(store)
                if config.get("compression"):
                    level.append(store / PROJECTION)
    return found


def _children(folder: Store) -> list[Store]:
    try:
        return [folder / name for name in folder.names()]
    except UserError:  # a folder that is not ours to read
        return []


def _config(folder: Store) -> StoredJob | None:
    try:
        return read_config(folder)
    except UserError:  # another program's
        return None


def duration(seconds: float) -> str:
    """A length of time as people say it, in its two largest units."""
    whole = max(0, round(seconds))
    for unit, size, small, parts in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // parts} {small}"
    return f"{whole} s"
