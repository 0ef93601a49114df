"""What runs will cost, told from runs like them in the same storage: nobody knows it before there is one.

Alike are runs of one task with the same options on as many workers, apart from those that do not change the time of a
step: the names in NO_MATTER; numbers with a fraction (rates, weights), of which counts only whether they are zero, but
for shares of a run's steps; and what follows the colon in a word, such as the numbers of a schedule.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from aign.storage.store import Store
from ray_jobs.reports.history import READERS, Line, ascending, read_lines
from ray_jobs.reports.stored import Cost, find_runs, read_attempts
from ray_jobs.runs.checkpoints import checkpoint_steps
from ray_jobs.runs.compression_rounds import parts_before
from ray_jobs.runs.folder import finished_export, read_export
from ray_jobs.runs.job import Job

NO_MATTER = (
    *("preset", "init_from", "versions", "facts", "name", "storage", "max_failures", "seed", "steps"),
    *("warmup_steps", "lr_schedule", "log_every", "evaluate_every", "checkpoint_every"),
    *("source", "begins_with", "rounds", "projection_steps"),  # of a compression: its ranks say what is computed
    *("workers", "device", "zero_stage"),  # attempts at one run may differ in these, so those are compared
)
MOST_LOOKED_AT = 500
"""Folders in which a run is looked for: one small file is read of each, 16 at a time."""
FEWEST_INTERVALS = 2
"""Between lines of metrics, from which the time of a step is told."""
ENOUGH_INTERVALS = 5
"""Of a run's clock, by which it may make half as many steps, and the first of which is not measured."""


@dataclass(frozen=True)
class Work:
    """What is still to do of a run."""

    job: Job
    steps: int
    share: float = 1.0
    """Its part of the steps that the command line names."""
    starts: int = 1
    """How often its workers will begin and end."""
    runs: float = 1.0
    """How many runs there are like it, itself included."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How quickly a run went, evaluations and checkpoints among its steps included."""

    run: Store
    step_seconds: float
    other_seconds: float
    """What one beginning and one end of its workers took beside the steps."""

    def hours(self, work: Work) -> float:
        return work.runs * (work.steps * self.step_seconds + work.starts * self.other_seconds) / 3600


class Paces:
    """Paces of the runs in a storage folder."""

    def __init__(self, storage: Store) -> None:
        self._stored: dict[str, list[Store]] = {}
        for run, config in find_runs(storage, MOST_LOOKED_AT):
            self._stored.setdefault(_alike(config), []).append(run)
        self._known: dict[tuple[str, str], Pace | None] = {}

    def of(self, job: Job) -> Pace | None:
        """That of the newest run like a job; of one that has finished if there is any: it has been in all stages."""
        alike = _alike(job.to_json())
        key = (alike, str(_place(job)))
        if key not in self._known:
            with ThreadPoolExecutor(READERS) as pool:
                runs = self._stored.get(alike, [])
                newest = sorted(zip(pool.map(_age, runs), runs, strict=True), key=lambda one: one[0], reverse=True)
            self._known[key] = next((pace for _, run in newest if (pace := _pace(run, job))), None)
        return self._known[key]


def to_do(job: Job) -> list[Work]:
    """What is not finished of a job and of the rounds of projection before it."""
    parts = [*parts_before(job), job]
    total = sum(part.run.training.steps for part in parts)
    found = []
    for part in parts:
        if finished_export(part) is None:
            steps, done = part.run.training.steps, next(iter(checkpoint_steps(part.folder)), 0)
            found.append(Work(part, max(0, steps - done), steps / total))
    return found


def estimate(works: Sequence[Work], price: float | None, *, at_most: bool = False) -> str:
    """What it will cost to do all of this in one storage folder, and from which runs that is known."""
    if not works:
        return "none, nothing is left to do"
    paces, hours, gpu_hours = Paces(Store(works[0].job.placement.storage)), 0.0, 0.0
    told: dict[str, None] = {}
    for work in works:
        workers, gpus, _ = _place(work.job)
        pace = paces.of(work.job)
        if pace is None:
            enough = math.ceil(ENOUGH_INTERVALS * work.job.run.training.log_every / work.share)
            remedy = f"one with --steps {enough} {_workers(work)} would tell"
            return f"not known: {work.job.placement.storage} has no run like {work.job.name}; {remedy}"
        hours += workers * pace.hours(work)
        gpu_hours += gpus * pace.hours(work)
        told[f"{pace.run.uri} ({_words(work, pace)})"] = None
    at_most = at_most or any(work.job.run.training.update_rule == "paper" for work in works)  # see Progress.clock
    rows = Cost(worker_hours=hours, gpu_hours=gpu_hours).rows(price)
    amounts = ", ".join(f"{value} {name}" for name, value in rows)
    return f"{'at most ' if at_most else ''}about {amounts}, as {', '.join(told)}"


def _alike(config: Mapping[str, Any]) -> str:
    """What decides the time of a step, of a config.json."""
    return json.dumps(_decisive(json.loads(json.dumps(config))), sort_keys=True)


def _decisive(value: Any, name: str = "") -> Any:
    match value:
        case dict():
            return {key: _decisive(own, key) for key, own in value.items() if key not in NO_MATTER}
        case list():
            return [_decisive(own) for own in value]
        case float() if not name.endswith("share"):
            return value != 0
        case str():
            return value.partition(":")[0]
    return value


def _place(job: Job) -> tuple[int, int, int | None]:
    """Workers, of a range the most, their GPUs, and the ZeRO stage, as an attempt records them."""
    place = job.placement
    workers = max(1, place.workers.most)
    return workers, workers * (place.device == "cuda"), place.zero_stage if place.workers else None


def _age(run: Store) -> tuple[bool, float]:
    """Later ones are greater, and all finished ones greater than the others."""
    began = [attempt.began for attempt in read_attempts(run, {})]
    return read_export(run) is not None, max(began, default=0.0)


def _pace(run: Store, job: Job) -> Pace | None:
    """From the attempts that were placed as the job is; None if they did not come far enough to tell."""
    lines = read_lines(run)
    logged = {n: ascending([line for line in own if "evaluation" not in line]) for n, own in lines.items()}
    attempts = [
        attempt
        for attempt in read_attempts(run, lines)
        if (attempt.workers, attempt.gpus, attempt.zero_stage) == _place(job) and logged.get(attempt.number)
    ]
    if sum(len(logged[attempt.number]) - 1 for attempt in attempts) < FEWEST_INTERVALS:
        return None
    step_seconds = _step_seconds([(attempt.start_step or 0, logged[attempt.number]) for attempt in attempts])
    last = attempts[-1]
    beside = 3600 * last.hours - step_seconds * (logged[last.number][-1]["step"] - (last.start_step or 0))
    return Pace(run=run, step_seconds=step_seconds, other_seconds=max(0.0, beside))


def _step_seconds(parts: Sequence[tuple[int, Sequence[Line]]]) -> float:
    """The mean over all steps, from where attempts started and what they logged; stages differ in their pace.

    The steps before an attempt's first line, which take longer, count as others of their stage do.
    """
    pairs = [pair for _, logged in parts for pair in pairwise(logged)]  # a line is of one stage
    steps: Counter[str] = Counter()
    for start, logged in parts:
        steps[logged[0]["stage"]] += logged[0]["step"] - start
    for before, line in pairs:
        steps[line["stage"]] += line["step"] - before["step"]

    def mean(stage: str) -> float:
        own = [pair for pair in pairs if pair[1]["stage"] == stage] or pairs
        return sum(line["time"] - before["time"] for before, line in own) / sum(
            line["step"] - before["step"] for before, line in own
        )

    return sum(count * mean(stage) for stage, count in steps.items()) / steps.total()


def _words(work: Work, pace: Pace) -> str:
    return f"{_workers(work)}, {pace.step_seconds:.2g} s a step and {pace.other_seconds:.2g} s beside them"


def _workers(work: Work) -> str:
    return f"--workers {work.job.placement.workers.most}"
