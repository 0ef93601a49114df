"""What a sweep has cost, from the attempts at its trials' runs, and what it will cost, from a run like them."""

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from aign.errors import NotTrainable
from aign.storage.store import Store
from ray_jobs.reports.estimate import Work, estimate, to_do
from ray_jobs.reports.history import READERS, read_lines
from ray_jobs.reports.stored import Attempt, Cost, find_runs, read_attempts
from ray_jobs.runs.job import Job
from ray_jobs.sweeps.plan import Sweep, trial_folder
from ray_jobs.sweeps.trial_log import Record, read_records

MOST_ESTIMATED = 50
"""Trials that an estimate looks at, evenly spaced; the others are taken to be as these."""


def spent(folder: Store) -> Cost:
    """What all trials of a sweep took."""
    runs = find_runs(folder / "trials")
    with ThreadPoolExecutor(READERS) as pool:
        return Cost.of([attempt for attempts in pool.map(_attempts, runs) for attempt in attempts])


def _attempts(run: Store) -> Sequence[Attempt]:
    """Metrics are read only where an attempt was cut off: there are many more of them."""
    attempts = read_attempts(run, {})
    return attempts if all(attempt.ended for attempt in attempts) else read_attempts(run, read_lines(run))


def estimated(sweep: Sweep) -> str:
    """What the trials that are not over will cost."""
    options = sweep.options
    to_go = _to_go(sweep)
    chosen = to_go[:: math.ceil(len(to_go) / MOST_ESTIMATED)] if to_go else []
    each = len(to_go) / max(1, len(chosen))
    with ThreadPoolExecutor(READERS) as pool:
        works = [_started(sweep, work, each) for of_trial in pool.map(to_do, _jobs(sweep, chosen)) for work in of_trial]
    at_most = options.scheduler == "asha" or options.budget_hours is not None
    return estimate(works, options.like, options.price_per_worker_hour, at_most=at_most)


def _to_go(sweep: Sweep) -> list[Record]:
    """The trials that are not over."""
    records = {record.trial: record for record in read_records(sweep.folder)}
    found = [records.get(trial) or Record(trial=trial, point={}) for trial in range(sweep.num_trials)]
    return [record for record in found if not record.is_over]


def _jobs(sweep: Sweep, records: Sequence[Record]) -> list[Job]:
    """Their runs."""
    found = []
    for record in records:
        with contextlib.suppress(NotTrainable):  # that trial costs nothing
            run = record.run or f"{trial_folder(record.trial)}/0"
            found.append(sweep.trial_job(run, _values(sweep, record.trial)))
    return found


def _values(sweep: Sweep, trial: int) -> Mapping[str, str]:
    """Where earlier trials decide them, those in the middle stand for them."""
    space = sweep.space
    return space.middle() if sweep.options.search == "optuna" else space.values(sweep.points[trial])


def _started(sweep: Sweep, work: Work, runs: float) -> Work:
    """Members of a population end where they wait for each other, and begin again."""
    starts = math.ceil(work.steps / sweep.perturb_every) if sweep.options.scheduler == "pbt" else 1
    return dataclasses.replace(work, starts=starts, runs=runs)
