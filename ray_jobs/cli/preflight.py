"""What can be checked before anything is started."""

import json
import shutil
from collections.abc import Callable, Mapping
from typing import Any

from aign.errors import UserError
from aign.storage.store import Store
from aign.training.run_config import find_task
from ray_jobs.launch.devices import decided_here, with_device
from ray_jobs.launch.ray_environment import check_ray
from ray_jobs.runs.job import GIB, Job, Placement
from ray_jobs.runs.same_run import check_same_run
from ray_jobs.runs.warm_start import with_beginning
from ray_jobs.storage.waiting_room import made, spool_folder
from ray_jobs.worker.best_effort import note


def say_dry(about: Mapping[str, Any], would: str, cost: str) -> None:
    """What ``--dry-run`` prints when all checks have passed: what was resolved, what would happen, and its cost."""
    print(json.dumps(about, indent=1))
    print(f"dry run: all checks passed, nothing was started; it would {would}")
    print(f"cost: {cost}")


def check(job: Job, say: Callable[[str], None] = note) -> Job:
    """Batch arithmetic, options that exclude each other, resources, Ray, data, storage, what it begins with, RUN.

    Says what a person should know of the data, and returns the job with all that was found out. Raises UserError at the
    first that cannot work.
    """
    job.run.check_batch(job.placement.workers.most)
    check_engine(job)
    job, known = with_device(job) if decided_here(job) else (job, [])
    check_resources(job)
    if job.placement.workers:
        check_ray()
    known += find_task(job.run.task).data.check(job.run.options)
    known += check_store(job.folder)
    if decided_here(job):  # on a cluster, its machines are where results wait
        made(spool_folder())
    job = with_beginning(job)
    check_same_run(job)
    for line in known:
        say(line)
    return job


def check_store(store: Store) -> list[str]:
    """That runs can be written there; what a person should know of it. Raises UserError."""
    refused = store.check()
    return [f"{refused}; all checkpoints of a run will stay there"] if refused else []


def check_engine(job: Job) -> None:
    """Options of engines that exclude each other."""
    place, stage = job.placement, job.placement.zero_stage if job.placement.workers else 0
    if stage == 3 and job.run.training.r1 > 0:
        raise UserError(
            f"r1 = {job.run.training.r1} with zero_stage = 3",
            "DeepSpeed cannot differentiate twice through sharded weights",
            "use --zero-stage 2 or --r1 0",
        )
    if stage == 3 and job.run.compression:
        reason = "thin weights are read outside their layers, where DeepSpeed has not gathered them"
        raise UserError("compression with zero_stage = 3", reason, "use --zero-stage 2")
    if stage == 3 and place.compile:
        reason = "DeepSpeed gathers sharded weights layer by layer, which a compiled network leaves out"
        raise UserError("compile with zero_stage = 3", reason, "use --zero-stage 2")
    if place.offload_optimizer and not stage:
        raise UserError("offload_optimizer with zero_stage = 0", "nothing is sharded", "use --zero-stage 1, 2 or 3")


def check_resources(job: Job) -> None:
    """On a local Ray only: a cluster may grow, and its machines may have what this one lacks."""
    if not decided_here(job):
        return
    place = job.placement
    compilers = ("c++", "g++", "clang++")
    on_cpus = place.compile and place.device == "cpu"
    if on_cpus and not any(shutil.which(name) for name in compilers):
        raise UserError("compile", f"needs a C++ compiler on CPUs ({', '.join(compilers)})", "install g++")
    if place.machines != "any":
        reason = "Ray on this machine alone does not know how it was bought"
        raise UserError(f"machines = {place.machines}", reason, "leave it out, or use a cluster (RAY_ADDRESS)")
    if place.memory_per_worker:
        _check_memory(place)


def _check_memory(place: Placement) -> None:
    from ray_jobs.launch.ray_internals import get_system_memory  # what Ray may give to workers here

    if place.memory_per_worker * place.workers.fewest * GIB > get_system_memory():
        raise UserError(
            f"{place.workers} workers with {place.memory_per_worker:g} GiB",
            f"this machine has {get_system_memory() / GIB:.1f} GiB",
            "use a smaller --memory-per-worker, fewer workers, or a cluster (RAY_ADDRESS)",
        )
