"""When a run of the same name is the same run, so that a command may go on with it."""

import json
from collections.abc import Sequence

from aign.errors import UserError
from aign.options import changeable, schedules
from aign.training.config import TrainingConfig
from aign.training.loop import Progress, stage_lengths
from aign.training.run_config import RunConfig, find_task
from ray_jobs.runs.checkpoints import newest_progress
from ray_jobs.runs.folder import differences, read_config
from ray_jobs.runs.job import Job
from ray_jobs.storage.attempts import Recipe


def check_same_run(job: Job, claimed: Sequence[Recipe] = ()) -> None:
    """Raises UserError unless the run in the job's folder, if there is one, can go on with the job's options.

    ``claimed`` are recipes of attempts that have begun and not yet written what the run is.
    """
    if job.folder.exists("config.json"):
        before = _stored(job)
        _check_recipe(job, before.recipe())
        _check_length(job, before)
        return
    for recipe in claimed:
        _check_recipe(job, recipe)


def _stored(job: Job) -> RunConfig:
    stored = read_config(job.folder)
    task = stored.get("task")
    if task != job.run.task:
        raise UserError(job.folder.uri, f"is a run of task {task!r}, not {job.run.task!r}", "use another --name")
    return RunConfig.from_json(stored)


def _check_recipe(job: Job, recipe: Recipe) -> None:
    before, now = (json.loads(json.dumps(one)) for one in (recipe, job.run.recipe()))
    if before != now:
        reason = f"was started with other options ({differences(before, now) or 'of another version'})"
        raise UserError(job.folder.uri, reason, f"use the same options or another --name; {_what_may_change(job.run)}")


def _what_may_change(run: RunConfig) -> str:
    names = [*changeable(TrainingConfig), *changeable(type(run.options))]
    return f"what may change is {', '.join(names)}, steps if they become more, and where it runs"


def _check_length(job: Job, before: RunConfig) -> None:
    """Raises UserError unless what was learnt is the beginning of a run of the new length, number by number."""
    steps, longer = before.training.steps, job.run.training.steps
    if longer == steps:
        return
    change = f"steps was {steps}, now {longer}"
    if longer < steps:
        raise UserError(job.folder.uri, f"{change}: it cannot be made shorter", "give as many, or another --name")
    remedy = "give as many as before, or another --name and --from this run"
    if job.run.compression:
        raise UserError(job.folder.uri, f"{change}: how it is compressed goes by its length", remedy)
    for options in (job.run.training, job.run.options):
        for name in schedules(options):
            reason = f"{change}, and {name} = {getattr(options, name)} goes by the length of the run"
            raise UserError(job.folder.uri, reason, remedy)
    if not _is_beginning(job.run, newest_progress(job.folder), steps):
        raise UserError(job.folder.uri, f"{change}, and its stages share the steps: the first has ended", remedy)


def _is_beginning(run: RunConfig, progress: Progress, steps: int) -> bool:
    """Whether no stage that has ended would have been longer."""
    stages = find_task(run.task).objective.plan(run.options)
    lengths, longer = (stage_lengths(stages, total) for total in (steps, run.training.steps))
    last = max(index for index, length in enumerate(longer) if length)
    return lengths[: min(progress.stage, last)] == longer[: min(progress.stage, last)]
