"""One of the two workers of test_overhead.py: stretches of a real run, and the same steps with nothing beside them.

``python -m tests.benchmarks.overhead_worker RANK FOLDER``; the first worker writes FOLDER/measured.json.
"""

import itertools
import json
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch.distributed as dist

from aign.tasks.base import Task
from aign.tasks.stages import Stage
from aign.training.loop import Progress, draw_batch, train
from aign.training.players import make_engines
from aign.training.run_config import RunConfig
from aign.training.step import Engines, adversarial_step
from aign.training.workers import world_size
from ray_jobs.runs.job import Job, Placement
from ray_jobs.storage.spool import Spool
from ray_jobs.worker.deepspeed_engine import DeepSpeedEngine
from ray_jobs.worker.recorder import RunRecorder, RunWriter
from tests.benchmarks.processes import join, rounds_for, seconds_of

STRETCH, NUM_BATCHES, SECONDS = 100, 8, 50.0
"""Steps of a stretch: five lines of metrics, and a checkpoint in its middle."""
NEVER = 10**9
RUN = RunConfig.of("pose", steps=10**6, log_every=20, checkpoint_every=STRETCH, evaluate_every=NEVER)


class StretchDone(Exception):
    """Ends a run without what belongs to its end."""


class TimedRecorder(RunRecorder):
    """Records as a run does, and how long the training thread is kept; ends a stretch after its last line."""

    def __init__(self, task: Task, writer: RunWriter | None) -> None:
        super().__init__(task, writer)
        self.last_step, self.kept = 0, {"data": 0.0, "metrics": 0.0, "checkpoints": 0.0}
        self.since = time.perf_counter()

    def log(self, progress: Progress, stage: Stage, values: dict[str, float]) -> None:
        started = time.perf_counter()
        self.kept["data"] += values["data_wait_share"] * (started - self.since)
        super().log(progress, stage, values)
        self.kept["metrics"] += time.perf_counter() - started
        self.since = time.perf_counter()
        if progress.step == self.last_step:
            raise StretchDone

    def checkpoint(self, progress: Progress, engines: Engines) -> None:
        started = time.perf_counter()
        super().checkpoint(progress, engines)
        self.kept["checkpoints"] += time.perf_counter() - started


def real_stretch(task: Task, engines: Engines, recorder: TimedRecorder, first: int) -> None:
    """Steps of a run as the loop takes them, from between two checkpoints."""
    recorder.last_step, recorder.since = first + STRETCH, time.perf_counter()
    start = Progress(step=first, clock=first, stage=len(task.objective.stages) - 1)
    try:
        train(task, engines, RUN.training, recorder, start)
    except StretchDone:
        return
    raise AssertionError("the stretch did not end")


def measure(folder: Path) -> dict:
    task = RUN.make_task()
    engine = partial(DeepSpeedEngine, zero_stage=1, micro_batch_size=RUN.training.batch_size // world_size())
    engines = make_engines(task, RUN.training, engine)
    stage = task.objective.stages[-1]
    batches = [draw_batch(task, stage, RUN.training, step) for step in range(NUM_BATCHES)]

    def bare_stretch() -> None:
        for step in range(STRETCH):
            adversarial_step(task, engines, stage, batches[step % NUM_BATCHES], RUN.training, step)

    with ExitStack() as closing:
        recorder = TimedRecorder(task, None)
        if dist.get_rank() == 0:
            job = Job(run=RUN, placement=Placement(storage=str(folder / "runs")), name="overhead")
            spool = Spool(job.folder, folder / "spool", print)
            closing.callback(spool.close, 60.0)
            recorder.writer = RunWriter(job, 1, spool, lambda event: None)
            closing.callback(recorder.writer.close)
        first = itertools.count(40, STRETCH)  # lines at 60, 80, 100, 120, 140; a checkpoint at 100

        def measure_round() -> dict[str, float]:
            recorder.kept = dict.fromkeys(recorder.kept, 0.0)
            real = seconds_of(partial(real_stretch, task, engines, recorder, next(first)))[0]
            return {"real": real, "bare": seconds_of(bare_stretch)[0], **recorder.kept}

        return {"steps": STRETCH, "rounds": rounds_for(SECONDS, measure_round)}


def main(own_rank: str, folder: str) -> None:
    join(own_rank, Path(folder))
    measured = measure(Path(folder))
    if dist.get_rank() == 0:
        Path(folder, "measured.json").write_text(json.dumps(measured))


if __name__ == "__main__":
    main(*sys.argv[1:])
