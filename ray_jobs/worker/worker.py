"""What each worker of a run does, under Ray Train or alone in a process."""

import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from aign.outputs import disk_errors
from aign.tasks.base import Task
from aign.trained import write_export
from aign.training.engine import TorchEngine
from aign.training.loop import Progress, evaluate, is_finished, reopened, train
from aign.training.notice import Notice
from aign.training.players import MakeEngine, make_engines
from aign.training.step import Engines
from aign.training.workers import from_first_worker, rank, world_size
from ray_jobs.runs.checkpoints import fetch_checkpoint, valid_checkpoints
from ray_jobs.runs.compression_rounds import begin_compression
from ray_jobs.runs.job import Job
from ray_jobs.runs.warm_start import begin
from ray_jobs.worker.best_effort import harmless
from ray_jobs.worker.events import CheckpointSaved, Message
from ray_jobs.worker.lifetime import Lifetime, Tell, lifetime
from ray_jobs.worker.recorder import RunRecorder, RunWriter, renderer_buffers


@dataclass(frozen=True)
class Ended:
    """How far a run came, and whether that is its end."""

    step: int
    finished: bool
    missing: str = ""
    """Results that have not arrived, and where they wait; of a run that would have finished."""


def run_worker(job: Job, tell: Tell, look: Callable[[], Notice], device: torch.device) -> Ended:
    """Train this worker's part of a run, from its newest checkpoint if there is one.

    ``tell`` is called on the first worker only; ``look`` is the loop's. A run is finished when all of it has arrived.
    """
    tell = harmless("the console", tell)
    record = taking_part(job, time.time())
    with ExitStack() as closing:
        own = closing.enter_context(lifetime(job, tell, look, record)) if rank() == 0 else None
        if from_first_worker(int(rank() == 0 and own is None), device):  # in storage it has finished
            return Ended(job.run.training.steps, finished=True)
        return _train(job, tell, look, device, own)


def _train(job: Job, tell: Tell, look: Callable[[], Notice], device: torch.device, own: Lifetime | None) -> Ended:
    config = job.run.training
    task = job.run.make_task(device)
    engines = make_engines(task, config, engine_maker(job), job.placement.acceleration)
    if job.placement.workers:
        limit_waits(job.placement.collective_timeout_s)
    if own:
        own.write_config(task.metadata)
    progress = resume(job, task, engines, tell, device)
    with own.spool.scratch() if own else nullcontext() as scratch:
        exported = scratch / "export" if scratch else None
        with writing(own, progress, tell) as writer:
            recorder = RunRecorder(task, writer)
            progress = train(task, engines, config, recorder, progress, look, job.until)
            if is_finished(task, progress):
                export(job, task, engines, recorder, progress, exported)
        if not is_finished(task, progress):
            if own:
                own.end("stopped", f"at step {progress.step}, as it was asked to")
            return Ended(progress.step, finished=False)
        if own and exported:
            return finish(own, exported, progress, look)
        return Ended(progress.step, finished=True)


def finish(own: Lifetime, export_folder: Path, progress: Progress, look: Callable[[], Notice]) -> Ended:
    """Send the export when all else is on its way, and wait until all has arrived."""
    own.spool.put_folder(export_folder, "export", last="config.json")
    if own.send_all(look):
        own.end("finished")
        own.send_all(look)
    missing = own.spool.what_waits
    own.end("stopped", f"at its end; {missing}")
    return Ended(progress.step, finished=not missing, missing=missing)


def engine_maker(job: Job) -> MakeEngine:
    """DeepSpeed's engines for workers, plain ones without any."""
    place = job.placement
    if not place.workers:
        return TorchEngine
    from ray_jobs.worker.deepspeed_engine import DeepSpeedEngine

    return partial(
        DeepSpeedEngine,
        zero_stage=place.zero_stage,
        micro_batch_size=job.run.training.batch_size // world_size(),
        offload=place.offload_optimizer,
    )


def limit_waits(seconds: float) -> None:
    """How long this worker waits for the others, in DeepSpeed's process groups too: they begin with half an hour."""
    for group in list(distributed_c10d._world.pg_map):
        distributed_c10d._set_pg_timeout(timedelta(seconds=seconds), group)


def resume(job: Job, task: Task, engines: Engines, tell: Tell, device: torch.device) -> Progress:
    """Load the newest whole checkpoint into the engines; if there is none, what the run begins with.

    The first worker chooses it, so that all workers load the same one whatever each of them can see.
    """

    def say(text: str) -> None:
        tell(Message(text))

    with tempfile.TemporaryDirectory(prefix="aign-resume-") as scratch:
        stages, folder = task.objective.stages, Path(scratch)
        whole = valid_checkpoints(job.folder, folder, say, len(stages)) if rank() == 0 else iter(())
        checkpoint = next(whole, None)
        step = from_first_worker(checkpoint.progress.step if checkpoint else -1, device)
        if step < 0:
            if job.run.compression:
                begin_compression(job, task, engines)
            elif job.run.init_from:
                begin(job, engines)
            return Progress()
        checkpoint = checkpoint or fetch_checkpoint(job.folder, step, folder)
        for name, state in checkpoint.engines.items():
            getattr(engines, name).load(state)
        return reopened(checkpoint.progress, stages, job.run.training.steps)


def _with_workers(job: Job) -> str:
    """How many there are this time, where that may change."""
    return f"with {world_size()} workers" if job.placement.workers.is_range else ""


def all_processes() -> list[dict[str, Any]]:
    """Machine and process id of every worker, the first one's first. Collective."""
    own = {"host": socket.gethostname(), "pid": os.getpid()}
    if world_size() == 1:
        return [own]
    everyone: list[dict[str, Any]] = [{} for _ in range(world_size())]
    dist.all_gather_object(everyone, own)
    return everyone


def taking_part(job: Job, began: float) -> dict[str, Any]:
    """Who takes part in this attempt, and since when. Collective."""
    place = job.placement
    return {
        "workers": world_size(),
        "device": place.device,
        "zero_stage": place.zero_stage if place.workers else None,
        "began": began,
        "processes": all_processes(),
    }


@contextmanager
def writing(own: Lifetime | None, progress: Progress, tell: Tell) -> Iterator[RunWriter | None]:
    """The writer of the run's folder, on the first worker; at the end all its work has been put into the spool."""
    if own is None:
        yield None
        return
    own.begin(progress.step)
    tell(CheckpointSaved(progress.step))
    if progress.step:
        text = f"{own.job.name} goes on from step {progress.step} {_with_workers(own.job)}"
        tell(Message(text.rstrip()))
    writer = RunWriter(own.job, own.attempt.number, own.spool, tell, progress.step)
    try:
        yield writer
    finally:
        writer.close()


def export(
    job: Job, task: Task, engines: Engines, recorder: RunRecorder, progress: Progress, folder: Path | None
) -> None:
    """Measure the test split, and write the files of RUN/export to a folder of this machine, which is None on other
    workers than the first.

    Every worker takes part in making the weights whole.
    """
    generator = engines.generator
    with generator.averaged():
        if recorder.validation:
            _, validation = recorder.validation
        else:  # an earlier attempt ended after its last checkpoint
            validation, _ = evaluate(task, generator.module)
        test, _ = evaluate(task, generator.module, "test")
    recorder.measured(progress, test)
    weights = generator.state().averaged_weights
    if folder is None:
        return
    with disk_errors(folder.parents[1]):
        write_export(
            folder,
            job.run,
            task.metadata,
            validation=validation,
            test=test,
            progress=progress,
            generator=task.model.deployed(weights),
            renderer=renderer_buffers(task),
        )
