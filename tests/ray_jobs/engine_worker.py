"""One process of tests/ray_jobs/test_engines.py: takes adversarial steps of the pose task and writes what came out.

``python -m tests.ray_jobs.engine_worker RANK NUM_WORKERS FOLDER``; the first worker writes into FOLDER.
"""

import copy
import dataclasses
import json
import os
import sys
from datetime import timedelta
from functools import partial
from itertools import permutations
from pathlib import Path

import torch
import torch.distributed as dist

from aign.tasks import pose
from aign.training.engine import EngineState, TorchEngine
from aign.training.loop import Progress, draw_batch
from aign.training.players import make_engines
from aign.training.run_config import RunConfig
from aign.training.step import adversarial_step
from aign.training.workers import rank, world_size
from ray_jobs.checkpoints import Checkpoint, write_checkpoint
from ray_jobs.engines import DeepSpeedEngine

STEPS, SAVED_AT = 10, 5
ZERO_STAGES = (0, 1, 2, 3)
CHANGES = {1: [*permutations(ZERO_STAGES, 2)], 2: [(0, 3), (3, 1), (1, 2), (2, 0), (3, 3)]}
"""From which stage's state to which stage a run is continued, by number of workers."""
RUN = RunConfig.of(
    "pose",
    width=32,
    num_blocks=1,
    batch_size=16,
    supervised_share=0.0,
    discriminators=("joints", "factors"),
    discriminator_batch_norm=True,
    generator_lr=1e-4,
    discriminator_lr=2e-5,
    update_rule="paper",
    theta_d=0.663,  # with these two the rule skips, updates once and updates twice within the ten steps
    theta_g=0.77,
    r1=0.0,  # stage 3 cannot differentiate twice
)
WIDTHS = (64, 64, 32, 32)
"""Of the discriminators: as many layers as in earnest, but quick."""
PLAYERS = ("generator", "discriminators")

State = dict[str, EngineState]


class Player:
    """The pose task with networks of its own; data is shared, because it is slow to make."""

    def __init__(self, pristine, zero_stage, *, spoilt=False):
        self.task = copy.copy(pristine)
        self.task.generator = copy.deepcopy(pristine.generator)
        self.task.critics = {
            name: dataclasses.replace(critic, network=copy.deepcopy(critic.network))
            for name, critic in pristine.critics.items()
        }
        if spoilt:  # so that only what is loaded can make it right
            for module in (self.task.generator, *(critic.network for critic in self.task.critics.values())):
                for tensor in module.state_dict().values():
                    tensor.mul_(2)
        engine = TorchEngine
        if zero_stage is not None:
            engine = partial(DeepSpeedEngine, zero_stage=zero_stage, micro_batch_size=16 // world_size())
        self.engines = make_engines(self.task, RUN.training, engine)

    def steps(self, first, last):
        """Takes steps; the generator updates that the rule decided on."""
        stage = self.task.stages[-1]
        return [
            adversarial_step(
                self.task, self.engines, stage, draw_batch(self.task, stage, RUN.training, step), RUN.training, step
            )[1]
            for step in range(first, last)
        ]

    def state(self) -> State:
        return {name: getattr(self.engines, name).state() for name in PLAYERS}

    def load(self, state: State):
        for name in PLAYERS:
            getattr(self.engines, name).load(state[name])


def write(state: State, folder: Path) -> None:
    if rank() == 0:
        write_checkpoint(folder, Checkpoint(progress=Progress(), engines=state, renderer={}), {})


def train_all(folder: Path) -> None:
    """Ten steps at every ZeRO stage; and five, after which every stage continues from every other one's state."""
    pristine = RUN.make_task()
    decisions = {}
    if world_size() == 1:
        plain = Player(pristine, None)
        decisions["plain"] = plain.steps(0, STEPS)
        write(plain.state(), folder / "plain")
    saved = {}
    for zero_stage in ZERO_STAGES:
        player = Player(pristine, zero_stage)
        first = player.steps(0, SAVED_AT)
        saved[zero_stage] = player.state()
        decisions[f"stage {zero_stage}"] = first + player.steps(SAVED_AT, STEPS)
        write(player.state(), folder / f"stage {zero_stage}")
    for before, after in CHANGES[world_size()]:
        player = Player(pristine, after, spoilt=True)
        player.load(saved[before])
        decisions[f"stage {before} to {after}"] = player.steps(SAVED_AT, STEPS)
        write(player.state(), folder / f"stage {before} to {after}")
    if rank() == 0:
        (folder / "decisions.json").write_text(json.dumps(decisions))


def main(own_rank: str, num_workers: str, folder: str) -> None:
    torch.set_num_threads(1)
    pose.DISCRIMINATOR_WIDTHS = WIDTHS
    os.environ["LOCAL_RANK"] = own_rank
    place = {"rank": int(own_rank), "world_size": int(num_workers), "timeout": timedelta(seconds=120)}
    dist.init_process_group("gloo", init_method=Path(folder, "meeting-point").as_uri(), **place)
    train_all(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
