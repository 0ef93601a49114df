"""What each worker of a run does, under Ray Train or alone in a process."""

import json
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from aign.tasks.base import Task
from aign.trained import write_export
from aign.training.engine import TorchEngine
from aign.training.loop import Progress, evaluate, is_finished, train
from aign.training.notice import Notice
from aign.training.players import MakeEngine, make_engines
from aign.training.step import Engines
from aign.training.workers import from_first_worker, rank, world_size
from ray_jobs.attempts import ATTEMPTS, Attempt
from ray_jobs.beginning import begin
from ray_jobs.checkpoints import FOLDER_NAME, fetch_checkpoint, valid_checkpoints
from ray_jobs.compression import begin_compression
from ray_jobs.events import Event
from ray_jobs.job import Job
from ray_jobs.recorder import RunRecorder, RunWriter, renderer_buffers
from ray_jobs.spool import Spool, waiting_room
from ray_jobs.storage import StoreAway

SECONDS_TO_SEND_THE_REST = 60.0
SECONDS_BETWEEN_TRIES = 2.0


@dataclass(frozen=True)
class Ended:
    """How far a run came, and whether that is its end."""

    step: int
    finished: bool


def run_worker(job: Job, tell: Callable[[Event], None], look: Callable[[], Notice], device: torch.device) -> Ended:
    """Train this worker's part of a run, from its newest checkpoint if there is one.

    ``tell`` is called on the first worker only; ``look`` is the loop's. All that was put into the spool has arrived
    or is said to wait when this returns.
    """
    began = time.time()
    config = job.run.training
    task = job.run.make_task(device)
    engines = make_engines(task, config, engine_maker(job), job.placement.acceleration)
    if job.placement.workers:
        limit_waits(job.placement.collective_timeout_s)
    with ExitStack() as closing:
        if rank() == 0:
            wait_for_store(job, tell)
        spool = open_spool(job, tell) if rank() == 0 else None
        if spool:
            closing.callback(spool.close, SECONDS_TO_SEND_THE_REST)
        progress = resume(job, task, engines, tell, device)
        part = taking_part(job, progress, began)
        if spool and progress.step:
            tell({"kind": "say", "text": f"{job.name} goes on from step {progress.step} {_with_workers(job)}".rstrip()})
        writer = closing.enter_context(writing(job, task, spool, tell, part)) if spool else None
        recorder = RunRecorder(task, writer)
        progress = train(task, engines, config, recorder, progress, look, job.until)
        finished = is_finished(task, progress)
        if finished:
            export(job, task, engines, recorder, progress)
    return Ended(progress.step, finished)


def engine_maker(job: Job) -> MakeEngine:
    """DeepSpeed's engines for workers, plain ones without any."""
    place = job.placement
    if not place.workers:
        return TorchEngine
    from ray_jobs.engines import DeepSpeedEngine

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


def wait_for_store(job: Job, tell: Callable[[Event], None]) -> None:
    """A run that begins or goes on while the store is away waits for it, as long as the other workers have patience.

    Raises StoreAway after half of that: the next attempt waits again.
    """
    deadline = time.monotonic() + job.placement.collective_timeout_s / 2
    said = False
    while True:
        try:
            job.folder.names(ATTEMPTS)
            return
        except StoreAway as away:
            if time.monotonic() > deadline:
                raise
            if not said:
                said = True
                tell({"kind": "say", "text": f"{away}; the run waits for it"})
            time.sleep(SECONDS_BETWEEN_TRIES)


def open_spool(job: Job, tell: Callable[[Event], None]) -> Spool:
    """The way to the run's folder. What an earlier attempt left behind is sent first, so that it is resumed from."""

    def arrived(path: str) -> None:
        if checkpoint := FOLDER_NAME.fullmatch(path.removeprefix("checkpoints/")):
            tell({"kind": "saved", "step": int(checkpoint[1])})

    spool = Spool(job.folder, waiting_room(job.folder), lambda text: tell({"kind": "say", "text": text}), arrived)
    spool.flush(min(SECONDS_TO_SEND_THE_REST, job.placement.collective_timeout_s / 2))  # the other workers wait
    return spool


def resume(job: Job, task: Task, engines: Engines, tell: Callable[[Event], None], device: torch.device) -> Progress:
    """Load the newest whole checkpoint into the engines; if there is none, what the run begins with.

    The first worker chooses it, so that all workers load the same one whatever each of them can see.
    """

    def say(text: str) -> None:
        tell({"kind": "say", "text": text})

    with tempfile.TemporaryDirectory(prefix="aign-resume-") as scratch:
        checkpoint = next(valid_checkpoints(job.folder, Path(scratch), say), None) if rank() == 0 else None
        step = from_first_worker(checkpoint.progress.step if checkpoint else -1, device)
        if step < 0:
            if job.run.compression:
                begin_compression(job, task, engines)
            elif job.run.init_from:
                begin(job, engines)
            return Progress()
        checkpoint = checkpoint or fetch_checkpoint(job.folder, step, Path(scratch))
        for name, state in checkpoint.engines.items():
            getattr(engines, name).load(state)
        return checkpoint.progress


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


def taking_part(job: Job, progress: Progress, began: float) -> dict[str, Any]:
    """Who takes part in this attempt, since when and from which step. Collective."""
    place = job.placement
    return {
        "workers": world_size(),
        "device": place.device,
        "zero_stage": place.zero_stage if place.workers else None,
        "start_step": progress.step,
        "began": began,
        "processes": all_processes(),
    }


@contextmanager
def writing(
    job: Job, task: Task, spool: Spool, tell: Callable[[Event], None], part: dict[str, Any]
) -> Iterator[RunWriter]:
    """Number this attempt and write who takes part in it, and config.json; at the end, when that was."""
    attempt = Attempt.after(job.folder, part["began"])
    spool.begin(attempt)
    spool.put(attempt.path, json.dumps(part).encode())
    spool.put("config.json", json.dumps({**job.to_json(), "facts": task.facts()}, indent=1).encode())
    tell({"kind": "saved", "step": part["start_step"]})
    writer = RunWriter(job, attempt.number, spool, tell, part["start_step"])
    try:
        yield writer
    finally:
        writer.close()
        spool.put(attempt.path, json.dumps({**part, "ended": time.time()}).encode())


def export(job: Job, task: Task, engines: Engines, recorder: RunRecorder, progress: Progress) -> None:
    """Write RUN/export; every worker takes part in making the weights whole."""
    if recorder.last_evaluation:
        evaluation = recorder.last_evaluation[1]
    else:  # an earlier attempt ended after its last checkpoint
        with engines.generator.averaged():
            evaluation, _ = evaluate(task, engines.generator.module)
    weights = engines.generator.state().averaged_weights
    if recorder.writer is None:
        return
    folder = Path(tempfile.mkdtemp(prefix="aign-export-")) / "export"
    write_export(
        folder,
        job.run,
        task.facts(),
        evaluation,
        progress=progress,
        generator=task.deployed(weights),
        renderer=renderer_buffers(task),
    )
    recorder.writer.spool.put_folder(folder, "export", last="config.json")
    folder.parent.rmdir()
