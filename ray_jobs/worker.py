"""What each worker of a run does, under Ray Train or alone in a process."""

import hashlib
import json
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch

from aign.tasks.base import Task
from aign.trained import write_export
from aign.training.engine import TorchEngine
from aign.training.loop import Progress, evaluate, train
from aign.training.players import make_engines
from aign.training.step import Engines
from aign.training.workers import from_first_worker, rank, world_size
from ray_jobs.checkpoints import fetch_checkpoint, valid_checkpoints
from ray_jobs.job import Job
from ray_jobs.recorder import Event, RunRecorder, RunWriter, renderer_buffers
from ray_jobs.spool import Spool

SECONDS_TO_SEND_THE_REST = 60.0


def run_worker(job: Job, tell: Callable[[Event], None], device: torch.device | None = None) -> None:
    """Train this worker's part of a run, from its newest checkpoint if there is one.

    ``tell`` is called on the first worker only.
    """
    device = device or torch.device("cpu")
    config = job.run.training
    task = job.run.make_task(device)
    if job.placement.workers:
        from ray_jobs.engines import DeepSpeedEngine

        micro_batch = config.batch_size // world_size()
        engine = partial(DeepSpeedEngine, zero_stage=job.placement.zero_stage, micro_batch_size=micro_batch)
        engines = make_engines(task, config, engine)
    else:
        engines = make_engines(task, config, TorchEngine)
    with ExitStack() as closing:
        spool = open_spool(job, tell) if rank() == 0 else None
        if spool:
            closing.callback(spool.close, SECONDS_TO_SEND_THE_REST)
        progress = resume(job, engines, tell, device)
        if spool and progress.step:
            tell({"kind": "say", "text": f"{job.name} goes on from step {progress.step}"})
        writer = start_writing(job, task, spool, tell) if spool else None
        if writer:
            closing.callback(writer.close)
        recorder = RunRecorder(task, writer)
        progress = train(task, engines, config, recorder, progress)
        export(job, task, engines, recorder, progress)


def open_spool(job: Job, tell: Callable[[Event], None]) -> Spool:
    """The way to the run's folder. What an earlier attempt left behind is sent first, so that it is resumed from."""
    name = hashlib.sha256(job.folder.uri.encode()).hexdigest()[:16]
    waiting_room = Path(tempfile.gettempdir()) / "aign-spool" / name
    spool = Spool(job.folder, waiting_room, lambda text: tell({"kind": "say", "text": text}))
    spool.flush(SECONDS_TO_SEND_THE_REST)
    return spool


def resume(job: Job, engines: Engines, tell: Callable[[Event], None], device: torch.device) -> Progress:
    """Load the newest whole checkpoint into the engines; the beginning if there is none.

    The first worker chooses it, so that all workers load the same one whatever each of them can see.
    """

    def say(text: str) -> None:
        tell({"kind": "say", "text": text})

    with tempfile.TemporaryDirectory(prefix="aign-resume-") as scratch:
        checkpoint = next(valid_checkpoints(job.folder, Path(scratch), say), None) if rank() == 0 else None
        step = from_first_worker(checkpoint.progress.step if checkpoint else -1, device)
        if step < 0:
            return Progress()
        checkpoint = checkpoint or fetch_checkpoint(job.folder, step, Path(scratch))
        for name, state in checkpoint.engines.items():
            getattr(engines, name).load(state)
        return checkpoint.progress


def start_writing(job: Job, task: Task, spool: Spool, tell: Callable[[Event], None]) -> RunWriter:
    """Number this attempt and write config.json."""
    attempt = len(job.folder.names("attempts")) + 1
    about = {**job.to_json(), "facts": task.facts()}
    spool.put(f"attempts/{attempt:03d}.json", json.dumps({"workers": world_size()}).encode())
    spool.put("config.json", json.dumps(about, indent=1).encode())
    return RunWriter(job, attempt, spool, tell)


def export(job: Job, task: Task, engines: Engines, recorder: RunRecorder, progress: Progress) -> None:
    """Write RUN/export; every worker takes part in making the weights whole."""
    if recorder.last_evaluation:
        evaluation = recorder.last_evaluation[1]
    else:  # an earlier attempt ended after its last checkpoint
        evaluation, _ = evaluate(task, engines.generator.module)
    weights = engines.generator.state().weights
    if recorder.writer is None:
        return
    folder = Path(tempfile.mkdtemp(prefix="aign-export-")) / "export"
    write_export(
        folder,
        job.run,
        task.facts(),
        evaluation,
        progress=progress,
        generator=weights,
        renderer=renderer_buffers(task),
    )
    recorder.writer.spool.put_folder(folder, "export", last="config.json")
    folder.parent.rmdir()
