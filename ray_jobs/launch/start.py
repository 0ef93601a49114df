"""Start a job: in this process, or as a Ray Train run on a local or an existing Ray cluster."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from aign.options import absolute
from aign.training.notice import Notice
from ray_jobs.launch.devices import with_device
from ray_jobs.launch.ray_environment import cluster_address, give_local_token, not_joined
from ray_jobs.launch.signals import StopSignal
from ray_jobs.runs.compression_rounds import parts_before
from ray_jobs.runs.folder import finished_export
from ray_jobs.runs.job import Job
from ray_jobs.worker.best_effort import harmless
from ray_jobs.worker.events import Event, Message
from ray_jobs.worker.stopped import Stopped
from ray_jobs.worker.worker import Ended, run_worker

RAY_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # the controller looks this often; by default every 2 s
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",  # how soon it is seen that a machine is about to go; by default 5 s
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15",  # then the machines are counted again; by default after 60 s
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "3",  # patience with a worker that hangs before it is killed
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_worker_niceness": "0",  # training is this machine's main work, not its background
}

FOLDERS = ("AIGN_DATA", "AIGN_CACHE", "AIGN_SPOOL")
"""Variables that name folders."""

PROCESSES_OF_A_RUN = 6
"""That start at once: controller, mailbox, the first worker and what Ray Train puts beside them."""


class DidNotArrive(RuntimeError):
    """A run has come to its end, but not all of its results are in the store."""


def launch(job: Job, show: Callable[[Event], None], stop: StopSignal | None = None) -> None:
    """Run a job to its end; ``show`` is called here with what the run tells.

    Raises Stopped when ``stop`` ended it early, UserError for what a person can mend, DidNotArrive if not all of it is
    in the store, and another RuntimeError for a run that failed too often.
    """
    stop, show = stop or StopSignal(), harmless("the console", show)
    if stop.signum:
        raise Stopped(f"{job.name} stopped before it started", stop.signum)
    if job.placement.workers:
        start_ray(job, stop)
    job, known = with_device(job)
    for text in known:
        show(Message(text))
    for part in parts_before(job):
        if finished_export(part) is None:
            launch(part, partial(_show_message, show), stop)
    try:
        ended = _run_here(job, show, stop) if not job.placement.workers else _run_on_ray(job, show, stop)
    except Stopped as stopped:  # by a worker, which knows no signal
        raise Stopped(stopped.how_far, stop.signum or stopped.signum) from None
    if ended.missing and not stop.signum:
        raise DidNotArrive(f"{job.name}: did not arrive: {ended.missing}; the same command goes on there")
    if not ended.finished:
        raise Stopped(f"{job.name} stopped at step {ended.step}", stop.signum or signal.SIGTERM)


def _show_message(show: Callable[[Event], None], event: Event) -> None:
    """Show the messages of a part that comes before a run; its steps and metrics are not the run's."""
    if isinstance(event, Message):
        show(event)


def start_ray(job: Job, stop: StopSignal, num_jobs: int = 1) -> None:
    """Connect to the cluster that RAY_ADDRESS names, or start a local one large enough for so many jobs like this one.

    Does nothing if there is a connection already. Raises Stopped at once if it is asked to stop meanwhile.
    """
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in FOLDERS:
        if name in os.environ:
            os.environ[name] = absolute(os.environ[name])  # workers stand in other folders
    import ray

    if ray.is_initialized():
        return
    local: dict[str, Any] = {}
    if cluster_address() is None:
        give_local_token()
        from ray_jobs.launch.ray_internals import get_system_memory

        num_cpus = max(num_jobs * job.placement.workers.most, os.cpu_count() or 1)
        # "local": or else it looks for a cluster that was once started on this machine, dead or alive
        # all memory: Ray would count only what is free just now
        local = {"address": "local", "include_dashboard": False, "num_cpus": num_cpus, "_memory": get_system_memory()}
        # a run has several small processes, all of which may start at once
        local["_system_config"] = {"worker_maximum_startup_concurrency": PROCESSES_OF_A_RUN * (num_jobs + 1)}
    with stop.breaking_off(job.name), _signals_that_stay():
        try:
            ray.init(
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
                runtime_env={"env_vars": RAY_ENVIRONMENT},
                **local,
            )
        except Exception as error:
            raise not_joined(error) from error


@contextmanager
def _signals_that_stay():
    """``ray.init`` makes SIGTERM end the process; where it already means something, it keeps its meaning.

    And what it starts must not hear that a terminal was closed: a run that saves needs it to the end.
    """
    before = signal.getsignal(signal.SIGTERM)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _run_here(job: Job, show: Callable[[Event], None], stop: StopSignal) -> Ended:
    said = False

    def look() -> Notice:
        nonlocal said
        if stop.signum and not said:
            said = True
            show(Message(StopSignal.TEXT))
        return Notice.STOP if stop.signum else Notice.NONE

    return run_worker(job, show, look, torch.device(job.placement.device))


def _run_on_ray(job: Job, show: Callable[[Event], None], stop: StopSignal) -> Ended:
    from ray_jobs.launch.trainer import fit

    return fit(job, show, stop)
