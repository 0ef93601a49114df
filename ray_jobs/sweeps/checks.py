"""What a sweep is checked for before anything starts: the data that its values name, and what it decides by."""

from dataclasses import asdict

from aign.training.loop import evaluate
from aign.training.run_config import find_task
from ray_jobs.sweeps.plan import Sweep

OF_DATA = ("data", "source", "bias", "judge_attribute", "features", "size")
"""Options that decide which data is read, and how."""


def check_trials(sweep: Sweep) -> None:
    """Raises UserError unless all data that trials may read is there, and the metrics that decide are measured."""
    _check_data(sweep)
    _check_metrics(sweep)


def _check_data(sweep: Sweep) -> None:
    kind = find_task(sweep.job.run.task)
    if sweep.space.options.keys() & set(OF_DATA):
        for name, job in sweep.corners():
            if name in OF_DATA:
                kind.data.check(job.run.options)


def _check_metrics(sweep: Sweep) -> None:
    """Nothing but an evaluation tells what is measured: it depends on options and on data."""
    if sweep.options.metric is None and sweep.options.cost is None:
        return
    task = sweep.trial_job("trials/check", sweep.space.middle()).run.make_task()
    evaluation, _ = evaluate(task, task.model.generator)
    sweep.measured(asdict(evaluation))
