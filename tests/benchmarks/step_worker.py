"""One of the two workers of test_step.py: all contestants take turns in the same processes.

``python -m tests.benchmarks.step_worker RANK FOLDER TASK``; the first worker writes FOLDER/measured.json.
"""

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._pytree import tree_map

from aign.tasks.base import Task
from aign.training.config import TrainingConfig
from aign.training.loop import draw_batch
from aign.training.run_config import RunConfig
from aign.training.step import Batch
from aign.training.workers import mean_over_workers, world_size
from tests.benchmarks.contestants import TEXTBOOK, Step, contestant, contestants, with_own_networks
from tests.benchmarks.processes import join, rounds_for, seconds_of
from tests.benchmarks.traffic import Traffic
from tests.ray_jobs.worker.engine_worker import add_rounding_error

NUM_BATCHES = 4
SAME_UNTIL = 3
"""Steps after which all contestants must still have the same losses: later, rounding grows."""
DRAWN = 50
"""Batches whose loading is timed."""
SECONDS = 50.0
"""That rounds of all contestants go on for."""


def pose_task(folder: Path) -> tuple[Task, TrainingConfig]:
    """The preset aign without its gradient penalty and pairs: what a textbook loop does."""
    run = RunConfig.of("pose", r1=0.0, update_rule="always", pairs_weight=0.0, lr_schedule="constant")
    return run.make_task(), run.training


def superres_task(folder: Path) -> tuple[Task, TrainingConfig]:
    """The preset aign, likewise, on the image files in FOLDER/images."""
    os.environ["AIGN_CACHE"] = str(folder / "cache")
    run = RunConfig.of("superres", data="folder", source=str(folder / "images"), r1=0.0, ema=0.0)
    return run.make_task(), run.training


TASKS = {"pose": pose_task, "superres": superres_task}


def losses_after(step: Step, batches: list[Batch]) -> list[float]:
    """Loss terms of the last of a few steps, means over workers."""
    for number in range(SAME_UNTIL):
        terms = step(batches[number % NUM_BATCHES])
    return mean_over_workers(torch.stack([terms[name] for name in sorted(terms)])).tolist()


def apart(step: Step, batch: Batch) -> float:
    """How far the workers' losses on the same samples lie apart; zero if gradients were averaged all along."""

    def same(values: Tensor) -> Tensor:
        dist.broadcast(values := values.clone(), src=0)
        return values

    same_batch = replace(
        batch, unlabelled=tree_map(same, batch.unlabelled), remembered=tree_map(same, batch.remembered)
    )
    mine = torch.stack(list(step(same_batch).values()))
    return (mine - same(mine)).abs().max().item()


def milliseconds(step: Step, batches: list[Batch]) -> dict[str, float]:
    """Of one step."""

    def steps() -> None:
        for batch in batches:
            step(batch)

    return dict(zip(("wall", "cpu"), (1000 * s / len(batches) for s in seconds_of(steps)), strict=True))


def traffic(step: Step, batch: Batch) -> dict[str, dict[str, int]]:
    """What one step sends."""
    with Traffic(world_size()) as counted:
        step(batch)
    return {"sent": dict(counted.sent), "calls": dict(counted.calls)}


def data_milliseconds(task: Task, config: TrainingConfig) -> float:
    """Of one batch, other ones than in steps."""
    (stage,) = (stage for stage in task.objective.stages if stage.discriminators)
    started = time.perf_counter()
    for step in range(NUM_BATCHES, NUM_BATCHES + DRAWN):
        draw_batch(task, stage, config, step)
    return 1000 * (time.perf_counter() - started) / DRAWN


def measure(name: str, folder: Path) -> dict:
    task, config = TASKS[name](folder)
    (stage,) = (stage for stage in task.objective.stages if stage.discriminators)
    batches = [draw_batch(task, stage, config, step) for step in range(NUM_BATCHES)]
    steps = contestants(task, config)
    rounded = with_own_networks(task)
    add_rounding_error(rounded.generator)
    networks = [task.model.generator, *(critic.network for critic in task.discriminators.values())]
    return {
        "num_parameters": sum(p.numel() for network in networks for p in network.parameters()),
        "losses": {who: losses_after(step, batches) for who, step in steps.items()},
        "rounded": losses_after(contestant(TEXTBOOK, rounded, config), batches),
        "apart": {who: apart(step, batches[0]) for who, step in steps.items()},
        "traffic": {who: traffic(step, batches[0]) for who, step in steps.items()},
        "batch_size": config.batch_size,
        "data": data_milliseconds(task, config),
        "rounds": rounds_for(
            SECONDS,
            lambda: {who: milliseconds(step, batches) for who, step in steps.items()},
        ),
    }


def main(own_rank: str, folder: str, name: str) -> None:
    join(own_rank, Path(folder))
    measured = measure(name, Path(folder))
    if dist.get_rank() == 0:
        Path(folder, "measured.json").write_text(json.dumps(measured))


if __name__ == "__main__":
    main(*sys.argv[1:])
