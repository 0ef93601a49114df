"""Where a job computes: ``--device auto`` becomes ``cpu`` or ``cuda`` before any of its workers starts."""

import dataclasses
from collections.abc import Mapping

from aign.device import choose_device, num_gpus
from ray_jobs.launch.ray_environment import cluster_address
from ray_jobs.runs.job import Job, Placement


def decided_here(job: Job) -> bool:
    """Whether the GPUs of this machine decide, rather than those of the cluster that RAY_ADDRESS names."""
    return not job.placement.workers or cluster_address() is None


def with_device(job: Job) -> tuple[Job, list[str]]:
    """The job with its device chosen, and what a person should know of the choice.

    On a cluster, to which this process must be connected, ``auto`` goes by the machines that are there: nobody can tell
    how far a cluster grows. Raises UserError for GPUs that this machine does not have.
    """
    place, num_workers = job.placement, max(1, job.placement.workers.fewest)
    here = decided_here(job)
    if place.device != "auto":
        if here:
            choose_device(place.device, num_workers)
        return job, []
    room = num_gpus() if here else _room_on_cluster(place)
    if room >= num_workers:
        return job.on("cuda"), []
    if here and not room:  # nobody expects GPUs of a machine that has none
        return job.on("cpu"), []
    where, hint = ("this machine", "fewer workers would use them") if here else ("the cluster", "--device cuda waits")
    workers = "a worker" if num_workers == 1 else f"{num_workers} workers"
    return job.on("cpu"), [f"device: cpu, because {where} has {room} GPUs for {workers}; {hint}"]


def num_fitting(resources: Mapping[str, float], place: Placement) -> int:
    """How many workers a machine has room for, all of it counted."""
    return int(min(resources.get(kind, 0) / amount for kind, amount in place.needs.items()))


def _room_on_cluster(place: Placement) -> int:
    """For how many workers with a GPU the cluster has room."""
    import ray  # slow to import

    on_gpus = dataclasses.replace(place, device="cuda")
    machines = [node for node in ray.nodes() if node["Alive"]]
    return sum(num_fitting(machine["Resources"], on_gpus) for machine in machines)
