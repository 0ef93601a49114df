"""What each worker of a run does, under Ray Train or alone in a process."""

import hashlib
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from aign.tasks.base import Task
from aign.trained import write_export
from aign.training.engine import TorchEngine
from aign.training.loop import Progress, train
from aign.training.players import make_engines
from aign.training.step import Engines
from aign.training.workers import rank, world_size
from ray_jobs.checkpoints import valid_checkpoints
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
    progress = resume(job, engines, tell)
    if progress.stage == len(task.stages):
        return
    writer = start_writing(job, task, tell) if rank() == 0 else None
    recorder = RunRecorder(task, writer)
    try:
        progress = train(task, engines, config, recorder, progress)
        export(job, task, engines, recorder, progress)
    finally:
        if writer:
            writer.close(SECONDS_TO_SEND_THE_REST)


def resume(job: Job, engines: Engines, tell: Callable[[Event], None]) -> Progress:
    """Load the newest whole checkpoint into the engines, on every worker; the beginning if there is none."""
    with tempfile.TemporaryDirectory(prefix="aign-resume-") as scratch:

        def say(text: str) -> None:
            if rank() == 0:
                tell({"kind": "say", "text": text})

        checkpoint = next(valid_checkpoints(job.folder, Path(scratch), say), None)
        if checkpoint is None:
            return Progress()
        for name, state in checkpoint.engines.items():
            getattr(engines, name).load(state)
        say(f"{job.name} goes on from step {checkpoint.progress.step}")
        return checkpoint.progress


def start_writing(job: Job, task: Task, tell: Callable[[Event], None]) -> RunWriter:
    """Number this attempt, write config.json, and open the spool."""
    folder = job.folder
    attempt = len(folder.names("attempts")) + 1
    waiting_room = Path(tempfile.gettempdir()) / "aign-spool" / hashlib.sha256(folder.uri.encode()).hexdigest()[:16]
    spool = Spool(folder, waiting_room, lambda text: tell({"kind": "say", "text": text}))
    about = {**job.to_json(), "facts": task.facts()}
    spool.put(f"attempts/{attempt:03d}.json", json.dumps({"workers": world_size()}).encode())
    spool.put("config.json", json.dumps(about, indent=1).encode())
    return RunWriter(job, attempt, spool, tell)


def export(job: Job, task: Task, engines: Engines, recorder: RunRecorder, progress: Progress) -> None:
    """Write RUN/export; every worker takes part in making the weights whole."""
    weights = engines.generator.state().tensors
    if recorder.writer is None:
        return
    generator = {k.split("/", 1)[1]: v for k, v in weights.items() if k.startswith(("param/", "buffer/"))}
    folder = Path(tempfile.mkdtemp(prefix="aign-export-")) / "export"
    evaluation = recorder.last_evaluation[1] if recorder.last_evaluation else None
    write_export(
        folder,
        job.run,
        task.facts(),
        evaluation,
        progress=progress,
        generator=generator,
        renderer=renderer_buffers(task),
    )
    recorder.writer.spool.put_folder(folder, "export", last="config.json")
    folder.parent.rmdir()
