"""Start a job: in this process, or as a Ray Train run on a local or an existing Ray cluster."""

import logging
import os
import tempfile
import threading
from collections.abc import Callable
from typing import Any

from aign.errors import UserError
from ray_jobs.job import Job
from ray_jobs.recorder import Event
from ray_jobs.worker import run_worker

SECONDS_BETWEEN_LOOKS = 0.2
COLLECTIVE_TIMEOUT_S = 300
RAY_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # the controller looks this often; by default every 2 s
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_worker_niceness": "0",  # training is this machine's main work, not its background
}


def launch(job: Job, show: Callable[[Event], None]) -> None:
    """Run a job to its end; ``show`` is called here with what the run tells.

    Raises UserError for what a person can mend and RuntimeError for a run that failed too often.
    """
    failures: list[UserError] = []

    def keep(event: Event) -> None:
        if event["kind"] == "failed":
            failures.append(UserError(*event["error"]))
        else:
            show(event)

    if job.placement.workers == 0:
        run_worker(job, keep)
    else:
        start_ray(job)
        _fit(job, keep)
    if failures:
        raise failures[0]


def start_ray(job: Job, num_jobs: int = 1) -> None:
    """Connect to the cluster that RAY_ADDRESS names, or start a local one large enough for so many jobs like this one.

    Does nothing if there is a connection already.
    """
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        return
    local: dict[str, Any] = {}
    if "RAY_ADDRESS" not in os.environ:
        local = {"include_dashboard": False, "num_cpus": max(num_jobs * job.placement.workers, os.cpu_count() or 1)}
    ray.init(
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=True,
        runtime_env={"env_vars": RAY_ENVIRONMENT},
        **local,
    )


def _fit(job: Job, show: Callable[[Event], None]) -> None:
    import ray
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    mailbox = _mailbox()
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config={"job": job, "mailbox": mailbox},
        torch_config=TorchConfig(timeout_s=COLLECTIVE_TIMEOUT_S),
        scaling_config=ray.train.ScalingConfig(
            num_workers=job.placement.workers,
            use_gpu=job.placement.gpus_per_worker > 0,
            resources_per_worker={"CPU": 1, **_gpus(job)},
        ),
        run_config=ray.train.RunConfig(
            name=job.name,
            storage_path=tempfile.mkdtemp(prefix="aign-ray-"),  # ours is RUN; Ray Train's own bookkeeping is not needed
            failure_config=ray.train.FailureConfig(max_failures=job.placement.max_failures),
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),  # type: ignore[call-arg]
        ),
    )
    finished = threading.Event()

    def look() -> None:
        while True:
            last = finished.is_set()
            for event in ray.get(mailbox.take.remote()):
                show(event)
            if last:
                return
            finished.wait(SECONDS_BETWEEN_LOOKS)

    reader = threading.Thread(target=look, name="console", daemon=True)
    reader.start()
    try:
        trainer.fit()
    except Exception as error:
        raise RuntimeError(f"{job.name} failed: {_cause(error)}") from error
    finally:
        finished.set()
        reader.join()
        ray.kill(mailbox)


def _train_worker(config: dict[str, Any]) -> None:
    """Runs on every Ray Train worker."""
    import ray
    import ray.train.torch

    job: Job = config["job"]
    mailbox = config["mailbox"]
    device = ray.train.torch.get_device() if job.placement.gpus_per_worker else None
    try:
        run_worker(job, lambda event: mailbox.put.remote(event) and None, device)
    except UserError as error:  # the same again after a restart: tell and end instead of failing
        if ray.train.get_context().get_world_rank() == 0:
            ray.get(mailbox.put.remote({"kind": "failed", "error": (str(error.value), error.reason, error.remedy)}))
        return
    ray.get(mailbox.put.remote({"kind": "finished"}))


def _mailbox():
    """An actor that carries events from the first worker to the console; sending does not wait."""
    import ray

    @ray.remote(num_cpus=0)
    class Mailbox:
        def __init__(self) -> None:
            self.events: list[Event] = []

        def put(self, event: Event) -> None:
            self.events.append(event)

        def take(self) -> list[Event]:
            taken, self.events = self.events, []
            return taken

    return Mailbox.remote()  # type: ignore[attr-defined]


def _gpus(job: Job) -> dict[str, float]:
    return {"GPU": job.placement.gpus_per_worker} if job.placement.gpus_per_worker else {}


def _cause(error: BaseException) -> str:
    """The last line of what went wrong in a worker."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
