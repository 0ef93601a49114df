"""What can be checked before anything is started."""

import os

from aign.errors import UserError
from aign.training.run_config import RunConfig, find_task
from ray_jobs.job import Job
from ray_jobs.runs import read_config


def check(job: Job) -> None:
    """Batch arithmetic, options that exclude each other, resources, data, storage, and what RUN already holds.

    Raises UserError at the first that cannot work.
    """
    job.run.check_batch(job.placement.workers)
    check_engine(job)
    check_resources(job)
    find_task(job.run.task).check_data(job.run.options)
    job.folder.check()
    check_existing(job)


def check_engine(job: Job) -> None:
    if job.placement.zero_stage == 3 and job.run.training.r1 > 0 and job.placement.workers:
        raise UserError(
            f"r1 = {job.run.training.r1} with zero_stage = 3",
            "DeepSpeed cannot differentiate twice through sharded weights",
            "use --zero-stage 2 or --r1 0",
        )


def check_resources(job: Job) -> None:
    """On a local Ray only: a cluster may grow."""
    if "RAY_ADDRESS" in os.environ:
        return
    wanted = job.placement.gpus_per_worker * max(1, job.placement.workers)
    if wanted:
        import torch

        if wanted > torch.cuda.device_count():
            raise UserError(
                f"{job.placement.workers} workers with {job.placement.gpus_per_worker} GPUs",
                f"this machine has {torch.cuda.device_count()} GPUs",
                "use --gpus-per-worker 0, fewer workers, or a cluster (RAY_ADDRESS)",
            )


def check_existing(job: Job) -> None:
    """A run of the same name goes on only if it is the same run."""
    if not job.folder.exists("config.json"):
        return
    stored = read_config(job.folder)
    task = stored.get("task")
    if task != job.run.task:
        raise UserError(job.folder.uri, f"is a run of task {task!r}, not {job.run.task!r}", "use another --name")
    before, now = RunConfig.from_json(stored), job.run
    if before != now:
        differing = _differences(before.to_json(), now.to_json())
        raise UserError(
            job.folder.uri, f"was started with other options ({differing})", "use the same options or another --name"
        )


def _differences(before: dict, now: dict, prefix: str = "") -> str:
    found = []
    for key, value in before.items():
        if isinstance(value, dict):
            found.append(_differences(value, now[key], prefix))
        elif value != now[key]:
            found.append(f"{key} was {value}, now {now[key]}")
    return ", ".join(part for part in found if part)
