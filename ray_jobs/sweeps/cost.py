"""What a sweep has cost, from the attempts at its trials' runs, and what it will cost, from runs like its trials."""

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from aign.errors import UserError
from ray_jobs.job import Job
from ray_jobs.reports.estimate import Work, estimate, to_do
from ray_jobs.reports.history import READERS, read_lines
from ray_jobs.reports.stored import Attempt, Cost, find_runs, read_attempts
from ray_jobs.storage import Store
from ray_jobs.sweeps.book import Record, read_records
from ray_jobs.sweeps.plan import Sweep, trial_folder


def spent(folder: Store) -> Cost:
    """What all trials of a sweep took."""
    runs = [run for run, _ in find_runs(folder / "trials")]
    with ThreadPoolExecutor(READERS) as pool:
        return Cost.of([attempt for attempts in pool.map(_attempts, runs) for attempt in attempts])


def _attempts(run: Store) -> Sequence[Attempt]:
    """Metrics are read only where an attempt was cut off: there are many more of them."""
    attempts = read_attempts(run, {})
    return attempts if all(attempt.ended for attempt in attempts) else read_attempts(run, read_lines(run))


def estimated(sweep: Sweep) -> str:
    """What the trials that are not over will cost."""
    options = sweep.options
    with ThreadPoolExecutor(READERS) as pool:
        works = [_started(sweep, work) for of_trial in pool.map(to_do, _jobs(sweep)) for work in of_trial]
    at_most = options.scheduler == "asha" or options.budget_hours is not None
    return estimate(works, options.price_per_worker_hour, at_most=at_most)


def _jobs(sweep: Sweep) -> list[Job]:
    """The runs of the trials that are not over."""
    records = {record.trial: record for record in read_records(sweep.folder)}
    found = []
    for trial in range(sweep.num_trials):
        record = records.get(trial) or Record(trial=trial, point={})
        if not record.is_over:
            with contextlib.suppress(UserError):  # values that cannot be trained: that trial costs nothing
                found.append(sweep.trial_job(record.run or f"{trial_folder(trial)}/0", _values(sweep, trial)))
    return found


def _values(sweep: Sweep, trial: int) -> Mapping[str, str]:
    """Where earlier trials decide them, those in the middle stand for them."""
    space = sweep.space
    return space.middle() if sweep.options.search == "optuna" else space.values(sweep.points[trial])


def _started(sweep: Sweep, work: Work) -> Work:
    """Members of a population end where they wait for each other, and begin again."""
    if sweep.options.scheduler != "pbt":
        return work
    return dataclasses.replace(work, starts=math.ceil(work.steps / sweep.perturb_every))
