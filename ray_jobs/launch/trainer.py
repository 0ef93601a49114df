"""One Ray Train run: its workers, what ends or restarts them, and the console's view of it."""

import signal
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from ray.train.torch import TorchConfig

from aign.errors import UserError, last_line
from aign.storage.store import Store
from aign.training.notice import Notice
from ray_jobs.launch.control_actor import NoticeReader, start_mailbox
from ray_jobs.launch.elastic import ElasticTorchTrainer, SaveBeforeLeaving
from ray_jobs.launch.ray_internals import (
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
    UserCallback,
)
from ray_jobs.launch.signals import StopSignal
from ray_jobs.launch.threads import in_thread
from ray_jobs.runs.job import Job
from ray_jobs.storage.attempts import record_failure
from ray_jobs.worker.best_effort import harmless
from ray_jobs.worker.events import CheckpointSaved, Evaluated, Event, Message, Progressed, WorkersEnded, WorkersStarting
from ray_jobs.worker.gauges import Gauges
from ray_jobs.worker.stopped import Stopped
from ray_jobs.worker.worker import Ended, run_worker

SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_BETWEEN_RESIZES = 15.0
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
"""Environment of workers that compute on CPUs: Ray shows a worker without GPUs all that its machine has."""
SECONDS_TO_TRAIN = 5.0
"""How long workers that have not begun to train may take to do so and save, when a run is asked to stop."""


def fit(job: Job, show: Callable[[Event], None], stop: StopSignal) -> Ended:
    """Run a job on the Ray that this process is connected to.

    Raises UserError if a worker did, AlreadyRuns if this cluster is at it, Stopped if it was asked to stop before it
    trained, and RuntimeError for a run that failed too often.
    """
    mailbox = start_mailbox(job.folder.uri)
    scratch = tempfile.TemporaryDirectory(prefix="aign-ray-", ignore_cleanup_errors=True)
    try:
        # Ray Train would take over Ctrl-C in the main thread
        fitting = in_thread("fit", _trainer(job, mailbox, scratch.name).fit)
        if not _watch(fitting, mailbox, show, stop):
            raise Stopped(f"{job.name} stopped before it trained", stop.signum or signal.SIGTERM)
        return fitting.result().return_value
    except TrainingFailedError as error:
        mistake = getattr(error, "controller_failure", None)
        if isinstance(mistake, UserError | Stopped):
            raise mistake from None
        raise RuntimeError(f"{job.name} failed: {last_line(str(error))}") from error
    finally:
        ray.kill(mailbox)
        scratch.cleanup()


def _trainer(job: Job, mailbox: Any, scratch: str) -> ElasticTorchTrainer:
    place = job.placement
    return ElasticTorchTrainer(
        _train_worker,
        run=job.folder,
        mailbox=mailbox,
        train_loop_config={"job": job, "mailbox": mailbox},
        torch_config=TorchConfig(timeout_s=place.collective_timeout_s),  # type: ignore[arg-type]
        scaling_config=ScalingConfig(
            num_workers=place.workers.for_ray(),
            elastic_resize_monitor_interval_s=SECONDS_BETWEEN_RESIZES,
            use_gpu=place.device == "cuda",
            resources_per_worker=place.needs,
        ),
        run_config=RunConfig(
            name=job.name,
            storage_path=scratch,  # ours is RUN; Ray Train's own bookkeeping is not needed
            failure_config=FailureConfig(max_failures=place.max_failures),
            logging_config=LoggingConfig(log_level="ERROR"),
            worker_runtime_env={"env_vars": NO_GPU if place.device == "cpu" else {}},
            callbacks=[EndAtUserError(job.folder), SaveBeforeLeaving(job.folder, mailbox)],  # type: ignore[list-item]
        ),
    )


class EndAtUserError(UserCallback):
    """What a person has to mend would only happen again, and who asked it to stop wants no other try: it ends."""

    def __init__(self, run: Store) -> None:
        self._run = run

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        for error in worker_exceptions.values():
            record_failure(self._run, error)  # unless the first worker did, which may not have been told
            if isinstance(error, UserError | Stopped):
                raise error  # Ray Train never retries an error of its controller


def _train_worker(config: dict[str, Any]) -> Ended:
    """Runs on every Ray Train worker."""
    job, mailbox = config["job"], config["mailbox"]
    device = ray.train.torch.get_device() if job.placement.device == "cuda" else torch.device("cpu")
    if ray.train.get_context().get_world_rank() > 0:
        return run_worker(job, lambda event: None, lambda: Notice.NONE, device)
    with Gauges(job.name, job.run.task) as gauges:
        measure = harmless("setting the gauges", gauges.show)

        def tell(event: Event) -> None:
            measure(event)
            mailbox.put.remote(event)

        ended = run_worker(job, tell, NoticeReader(mailbox).look, device)
    ray.get(mailbox.put.remote(WorkersEnded()))  # all events have arrived
    return ended


def _watch(fitting: Future, mailbox: Any, show: Callable[[Event], None], stop: StopSignal) -> bool:
    """Show what the run tells until it has ended, and pass on that it is to stop.

    False if it was broken off, because it was asked to stop while its workers had nothing to save yet.
    """
    trains = over = False  # whether workers train, and so save when they are asked to; whether they have ended
    asked: float | None = None
    while True:
        last = fitting.done()
        for event in ray.get(mailbox.take.remote()):
            match event:
                case WorkersStarting():
                    trains = False
                case CheckpointSaved() | Progressed() | Evaluated():
                    trains = True
                case WorkersEnded():
                    over = True
            show(event)
        if last:
            return True
        if stop.signum:
            if asked is None:
                asked = time.monotonic()
                show(Message(StopSignal.TEXT))
            mailbox.notify.remote(Notice.STOP)
            may_train = trains or over or time.monotonic() - asked < SECONDS_TO_TRAIN
            if not may_train and ray.get(mailbox.break_off.remote()):
                return False
        time.sleep(SECONDS_BETWEEN_LOOKS)
