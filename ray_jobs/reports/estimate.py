"""What runs will cost, told from one like them that ``--like`` names: nobody knows it before there is one."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from aign.errors import UserError
from aign.storage.store import Store
from ray_jobs.reports.history import Line, ascending, read_lines
from ray_jobs.reports.stored import Cost, Placement, read_attempts
from ray_jobs.runs.checkpoints import checkpoint_steps
from ray_jobs.runs.compression_rounds import parts_before
from ray_jobs.runs.folder import finished_export, read_config
from ray_jobs.runs.job import Job

FEWEST_INTERVALS = 2
"""Between lines of metrics, from which the time of a step is told."""


@dataclass(frozen=True)
class Work:
    """What is still to do of a run."""

    job: Job
    steps: int
    starts: int = 1
    """How often its workers will begin and end."""
    runs: float = 1.0
    """How many runs there are like it, itself included."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How quickly a run went, evaluations and checkpoints among its steps included."""

    workers: int
    step_seconds: float
    other_seconds: float
    """What one beginning and one end of its workers took beside the steps."""

    @classmethod
    def of(cls, run: Store) -> "Pace":
        """From the attempts with one placement, that with the most lines of metrics.

        Raises UserError for what is no run, or too short.
        """
        read_config(run)
        lines = read_lines(run)
        logged = {n: ascending([line for line in own if "evaluation" not in line]) for n, own in lines.items()}
        told = [attempt for attempt in read_attempts(run, lines) if logged.get(attempt.number)]
        intervals: Counter[Placement] = Counter()
        for attempt in told:
            intervals[attempt.placement] += len(logged[attempt.number]) - 1
        if max(intervals.values(), default=0) < FEWEST_INTERVALS:
            raise UserError(f"--like {run.uri}", "has too few lines of metrics", "name a run of more steps")
        placement, _ = intervals.most_common(1)[0]
        attempts = [attempt for attempt in told if attempt.placement == placement]
        step_seconds = _step_seconds([(attempt.start_step or 0, logged[attempt.number]) for attempt in attempts])
        last = attempts[-1]
        beside = 3600 * last.hours - step_seconds * (logged[last.number][-1]["step"] - (last.start_step or 0))
        return cls(workers=last.workers, step_seconds=step_seconds, other_seconds=max(0.0, beside))

    def hours(self, work: Work) -> float:
        return work.runs * (work.steps * self.step_seconds + work.starts * self.other_seconds) / 3600


def to_do(job: Job) -> list[Work]:
    """What is not finished of a job and of the rounds of projection before it."""
    return [
        Work(part, max(0, part.run.training.steps - next(iter(checkpoint_steps(part.folder)), 0)))
        for part in [*parts_before(job), job]
        if finished_export(part) is None
    ]


def estimate(works: Sequence[Work], like: str | None, price: float | None, *, at_most: bool = False) -> str:
    """What it will cost to do all of this, each step as that of the run ``like``."""
    if not works:
        return "none, nothing is left to do"
    if like is None:
        return "not known; --like RUN tells it, where RUN has these options and any number of steps"
    run = Store(like)
    pace, worker_hours, gpu_hours = Pace.of(run), 0.0, 0.0
    for work in works:
        place = work.job.placement
        hours = max(1, place.workers.most) * pace.hours(work)
        worker_hours += hours
        gpu_hours += hours * (place.device == "cuda")
    at_most = at_most or any(work.job.run.training.update_rule == "paper" for work in works)  # see Progress.clock
    rows = Cost(worker_hours=worker_hours, gpu_hours=gpu_hours).rows(price)
    amounts = ", ".join(f"{value} {name}" for name, value in rows)
    took = f"{pace.workers} workers, {pace.step_seconds:.2g} s a step and {pace.other_seconds:.2g} s beside them"
    return f"{'at most ' if at_most else ''}about {amounts}, as {run.uri} ({took})"


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
