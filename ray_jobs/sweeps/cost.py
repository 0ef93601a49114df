"""What a sweep has cost, from the attempts at its trials' runs."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ray_jobs.reports.history import READERS, read_lines
from ray_jobs.reports.stored import Attempt, Cost, find_runs, read_attempts
from ray_jobs.storage import Store


def spent(folder: Store) -> Cost:
    """What all trials of a sweep took."""
    runs = [run for run, _ in find_runs(folder / "trials")]
    with ThreadPoolExecutor(READERS) as pool:
        return Cost.of([attempt for attempts in pool.map(_attempts, runs) for attempt in attempts])


def _attempts(run: Store) -> Sequence[Attempt]:
    """Metrics are read only where an attempt was cut off: there are many more of them."""
    attempts = read_attempts(run, {})
    return attempts if all(attempt.ended for attempt in attempts) else read_attempts(run, read_lines(run))
