"""A run as its folder tells of it: how it stands, who worked on it and what that cost."""

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from aign.errors import UserError
from ray_jobs.attempts import attempt_numbers, record_path
from ray_jobs.compression import PROJECTION
from ray_jobs.reports.history import READERS, History, Line, read_lines
from ray_jobs.runs import read_config, read_export
from ray_jobs.storage import Store

SECONDS_OF_SILENCE = 600.0
"""After which a run that has not ended is no longer believed to be running."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One group of workers, from its start to its end."""

    number: int
    workers: int
    gpus: int
    """GPUs of all workers."""
    zero_stage: int | None
    start_step: int
    last_step: int
    began: float
    """Unix time, s."""
    heard: float
    """When it ended, or the last sign of it, s."""
    ended: bool
    """Whether it said that it ended; one that is cut off does not."""

    @classmethod
    def of(cls, number: int, record: dict[str, Any], lines: Sequence[Line]) -> "Attempt":
        """From RUN/attempts/NUMBER.json and its lines of metrics."""
        times = [record[name] for name in ("began", "ended") if name in record] + [line["time"] for line in lines]
        return cls(
            number=number,
            workers=record["workers"],
            gpus=record["workers"] * (record.get("device") == "cuda"),
            zero_stage=record["zero_stage"],
            start_step=record["start_step"],
            last_step=max((line["step"] for line in lines), default=record["start_step"]),
            began=min(times, default=0.0),
            heard=max(times, default=0.0),
            ended="ended" in record,
        )

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
    config: dict[str, Any]
    attempts: Sequence[Attempt]
    history: History
    finished: bool

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
        silence = time.time() - self.attempts[-1].heard
        if self.attempts[-1].ended:
            return "stopped", f"at step {step}, {duration(silence)} ago; the command that began it goes on"
        if silence < SECONDS_OF_SILENCE:
            return "running", f"at step {step}, last heard of {duration(silence)} ago"
        return "silent", f"at step {step}: it has not ended, but was last heard of {duration(silence)} ago"

    def pictures(self, most: int) -> list[tuple[int, bytes]]:
        """Steps and PNG pictures over the run: the last one and, of more than one, the first and some in between."""
        names = self.folder.names("pictures")
        count, last = min(most, len(names)), len(names) - 1
        chosen = [names[last - i * last // max(1, count - 1)] for i in reversed(range(count))]
        return [(int(name[5:-4]), self.folder.read(f"pictures/{name}")) for name in chosen]


def read_run(folder: Store) -> StoredRun:
    """Raises UserError if the folder is not a run."""
    config = read_config(folder)
    lines = read_lines(folder)
    attempts = read_attempts(folder, lines)
    return StoredRun(
        folder=folder,
        config=config,
        attempts=attempts,
        history=History.of(lines, {attempt.number: attempt.start_step for attempt in attempts}),
        finished=read_export(folder) is not None,
    )


def read_attempts(run: Store, lines: Mapping[int, Sequence[Line]]) -> list[Attempt]:
    """All attempts at a run, in order."""
    numbers = attempt_numbers(run)
    records = [json.loads(run.read(record_path(number))) for number in numbers]
    return [Attempt.of(n, record, lines.get(n, [])) for n, record in zip(numbers, records, strict=True)]


def find_runs(folder: Store, most: int | None = None) -> list[tuple[Store, dict[str, Any]]]:
    """Runs under a folder, trials and rounds of projection too, with their config.json; what is no run is passed over.

    At most so many folders are looked into, from the last name to the first: default names end in their time.
    """
    found: list[tuple[Store, dict[str, Any]]] = []
    level, looked = [folder], 0
    with ThreadPoolExecutor(READERS) as pool:
        while level:
            children = [store for stores in pool.map(_children, level) for store in stores]
            children = children if most is None else children[: most - looked]
            looked += len(children)
            level = []
            for store, config in zip(children, pool.map(_config, children), strict=True):
                if config is None:
                    level.append(store)
                    continue
                found.append((store, config))
                if config.get("compression"):
                    level.append(store / PROJECTION)
    return found


def _children(folder: Store) -> list[Store]:
    try:
        return [folder / name for name in reversed(folder.names())]
    except UserError:  # a folder that is not ours to read
        return []


def _config(folder: Store) -> dict[str, Any] | None:
    try:
        found = read_config(folder)
    except UserError:
        return None
    return found if isinstance(found, dict) else None  # another program's


def duration(seconds: float) -> str:
    """A length of time as people say it, in its two largest units."""
    whole = max(0, round(seconds))
    for unit, size, small, parts in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // parts} {small}"
    return f"{whole} s"
