"""One process of engine_matrix.py: takes adversarial steps of the pose task and writes what came out.

``python -m tests.ray_jobs.worker.engine_worker RANK NUM_WORKERS FOLDER SIZE``; the first worker writes into FOLDER.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache, partial
from itertools import permutations
from pathlib import Path
from types import MappingProxyType

import torch
import torch.distributed as dist

from aign.generators.pose import HeatmapLifter
from aign.tasks import pose
from aign.tasks.parts import GeneratorPart
from aign.tasks.pose import PoseModel, PoseObjective
from aign.tasks.stages import Stage
from aign.training.acceleration import Acceleration
from aign.training.engine import EngineState, TorchEngine
from aign.training.loop import Progress, draw_batch, infer_all
from aign.training.players import make_engines
from aign.training.run_config import RunConfig
from aign.training.step import adversarial_step
from aign.training.workers import mean_over_workers, rank, world_size
from ray_jobs.runs.checkpoints import Checkpoint, write_checkpoint
from ray_jobs.worker.deepspeed_engine import DeepSpeedEngine
from tests.own_networks import with_own_networks

STEPS = {"quick": 9, "small": 30, "full": 30}
"""By size of the comparison: quick ones are for tests, full ones have the task's networks at their full widths."""
ROUNDING = 2.0**-24
"""Relative change of every weight that shows how far one rounding error is carried."""
ZERO_STAGES = {1: (0, 1, 2, 3), 2: (0, 1, 2, 3), 3: (1, 3)}
"""By number of workers. Three share a batch unevenly, and are slow on two cores."""
CHANGES = {1: [*permutations(ZERO_STAGES[1], 2)], 2: [(0, 3), (3, 1), (1, 2), (2, 0), (3, 3)], 3: [(3, 1)]}
"""From which stage's state to which stage a run is continued, by number of workers."""
RULE = {
    "batch_size": 16,
    "supervised_share": 0.0,
    "discriminators": ("joints", "factors"),
    "discriminator_batch_norm": True,
    "generator_lr": 1e-4,
    "discriminator_lr": 2e-5,
    "update_rule": "paper",
    "theta_d": 0.663,  # these two, tuned by case, make the rule skip, update once and update twice
    "theta_g": 0.77,
    "alpha": "adaptive:0:2",
    "scale_px": "adaptive:2",
    "r1": 0.0,  # stage 3 cannot differentiate twice
}
OPTIONS = {"clip": 0.05, "ema": 0.9, "warmup_steps": 5, "steps": 30}
CASES = {
    "clip, ema, cosine": RULE | OPTIONS | {"lr_schedule": "cosine", "theta_d": 0.6803, "theta_g": 0.7773},
    "recompute, offload": RULE | {"theta_d": 0.6747, "theta_g": 0.7795},
    "batch norm, accumulate": RULE
    | OPTIONS
    | {"generator": "heatmap", "accumulate": 2, "lr_schedule": "linear", "theta_d": 0.7832, "theta_g": 0.7038},
    "bf16": RULE | {"precision": "bf16"},
    "fp16": RULE | {"precision": "fp16"},
}
"""What is compared between engines. Every one has batch norm, two discriminators, a learnt loss, the paper's rule."""
HEATMAPS = "batch norm, accumulate"
"""The case whose generator has batch norm."""
FIRST = {"residual": "clip, ema, cosine", "heatmap": HEATMAPS}
"""The case that the task of each generator is made of."""
RECOMPUTED = ("recompute, offload", HEATMAPS)
"""The cases with activation checkpointing."""
OFFLOADED = "recompute, offload"
"""The case whose optimizer is offloaded where something is sharded."""
PARTS = {
    "clip, ema, cosine": {
        "stem": GeneratorPart(frozen=True),
        "blocks": GeneratorPart(),
        "head": GeneratorPart(lr_factor=3),
    },
    "recompute, offload": {"blocks": GeneratorPart(lr_factor=2)},
    HEATMAPS: {
        "convolutions.0": GeneratorPart(frozen=True),
        "convolutions.1": GeneratorPart(frozen=True),
        "convolutions.4": GeneratorPart(),
        "head": GeneratorPart(lr_factor=3),
    },
}
"""Parts of the generator, by case; layers 1 and 4 are batch norms."""
TRAINS = {"clip, ema, cosine": ("blocks",), "recompute, offload": ("blocks",), HEATMAPS: ("head",)}
"""The parts that the second of three stages trains. All other parts, batch norms too, do not change in it."""
OFF_AT_LAST = ("reprojection", "adversarial/joints")
"""The terms that the third stage leaves out: a learnt loss gets no gradient, and a discriminator rests."""
APART = "recompute, offload"
"""The case whose unlabelled samples observe another name, and are inferred in a pass of their own."""
CONTINUED = "clip, ema, cosine"
"""The case whose state is handed from stage to stage: it has the most of it."""
SMALL = {"residual": {"width": 32, "num_blocks": 1}, "heatmap": {"width": 32}}
"""Options of small generators."""
WIDTHS, CHANNELS = (64, 64, 32, 32), (8, 8, 8, 8, 16, 16, 16, 16)
"""Of small discriminators and convolutions: as many layers as in earnest, but quick."""
PLAIN, ROUNDED = "plain", "plain, rounded"
PLAYERS = ("generator", "discriminators")

State = dict[str, EngineState]


class InParts(PoseModel):
    generator_parts = MappingProxyType({})


class ByStage(PoseObjective):
    stages = ()


def stages_of(last: Stage, case: str) -> list[Stage]:
    """Where the generator has parts, three stages instead of one."""
    if case not in PARTS:
        return [last]
    third = replace(last, share=last.share / 3)
    weights = {name: weight for name, weight in last.weights.items() if name not in OFF_AT_LAST}
    return [third, replace(third, trains=TRAINS[case]), replace(third, weights=weights)]


class Player:
    """The pose task with networks of its own; data is shared, because it is slow to make."""

    def __init__(self, pristine, case, size, zero_stage, *, spoilt=False, rounded=False):
        self.task, self.progress, self.case = with_own_networks(pristine), Progress(), case
        self.training, self.steps = run(case, size).training, STEPS[size]
        self.task.model.__class__, self.task.objective.__class__ = InParts, ByStage
        self.task.model.generator_parts = PARTS.get(case, {})
        self.task.objective.stages = stages_of(pristine.objective.stages[-1], case)
        if spoilt:  # so that only what is loaded can make it right
            discriminators = [discriminator.network for discriminator in self.task.discriminators.values()]
            for module in (self.task.model.generator, *discriminators):
                for tensor in module.state_dict().values():
                    tensor.mul_(2)
        if rounded:
            add_rounding_error(self.task.model.generator)
        engine = TorchEngine
        if zero_stage is not None:
            place = {"micro_batch_size": 16 // world_size(), "offload": case == OFFLOADED and zero_stage > 0}
            engine = partial(DeepSpeedEngine, zero_stage=zero_stage, **place)
        how = Acceleration(activation_checkpointing=case in RECOMPUTED and zero_stage is not None)
        self.engines = make_engines(self.task, self.training, engine, how)
        self.decisions, self.losses = [], []

    def train_to(self, end):
        stages = self.task.objective.stages
        while self.progress.step < end:
            stage = stages[self.progress.step * len(stages) // self.steps]
            for name in PLAYERS:
                getattr(self.engines, name).set_lr_factor(self.training.lr_factor(self.progress.clock))
            batch = draw_batch(self.task, stage, self.training, self.progress.step)
            if self.case == APART:
                batch.unlabelled["observed"]["size_px"] = batch.unlabelled["observed"]["keypoints_px"].amax((1, 2))
            step, done = self.progress.step, self.progress.clock / self.training.steps
            terms, updates = adversarial_step(self.task, self.engines, stage, batch, self.training, step, done)
            self.progress = self.progress.after(updates)
            self.decisions.append(updates)
            self.losses.append(mean_over_workers(torch.stack(list(terms.values())) * batch.weight).tolist())

    def state(self) -> State:
        return {name: getattr(self.engines, name).state() for name in PLAYERS}

    def load(self, state: State, progress: Progress):
        self.progress = progress
        for name in PLAYERS:
            getattr(self.engines, name).load(state[name])

    def infer_averaged(self) -> list[list[float]]:
        """What the generator with averaged weights infers of a few samples of one batch, the same on every worker."""
        batch = draw_batch(self.task, self.task.objective.stages[-1], self.training, 0)
        observed = {name: values[:2] for name, values in batch.unlabelled["observed"].items()}
        for values in observed.values():
            dist.broadcast(values, src=0)
        with self.engines.generator.averaged():
            inferred = infer_all(self.engines.generator.module, observed)
        return [values.flatten().tolist() for values in inferred.values()]

    def write(self, folder: Path) -> None:
        averaged = self.infer_averaged()
        state = self.state()  # later, so that it shows whether the weights came back
        if rank() == 0:
            about = {"decisions": self.decisions, "losses": self.losses, "averaged": averaged}
            write_checkpoint(folder, Checkpoint(progress=self.progress, engines=state, renderer={}), about)


def add_rounding_error(network: torch.nn.Module) -> None:
    """Change every weight as rounding would."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        parameter.data *= 1 + ROUNDING * torch.randn_like(parameter)


def run(case: str, size: str) -> RunConfig:
    options = CASES[case]
    return RunConfig.of("pose", **options, **({} if size == "full" else SMALL[options.get("generator", "residual")]))


def cases(num_workers: int) -> list[str]:
    """Three workers, which share a batch unevenly, are slow on two cores: they leave some out."""
    return [case for case in CASES if num_workers < 3 or ("precision" not in CASES[case] and case not in RECOMPUTED)]


def train_all(folder: Path, size: str, device: str = "cpu", chosen: Sequence[str] = ()) -> None:
    """Some steps of all cases, or those chosen, at every ZeRO stage; and a run that is handed from one stage to another
    half-way.
    """
    if size != "full":
        pose.DISCRIMINATOR_WIDTHS, HeatmapLifter.CHANNELS = WIDTHS, CHANNELS
    make_task = cache(lambda generator: run(FIRST[generator], size).make_task(device))
    steps, saved = STEPS[size], {}
    for case in chosen or cases(world_size()):
        pristine = make_task(CASES[case].get("generator", "residual"))
        if world_size() == 1:
            for label, rounded in ((PLAIN, False), (ROUNDED, True)):
                plain = Player(pristine, case, size, None, rounded=rounded)
                plain.train_to(steps)
                plain.write(folder / case / label)
        for zero_stage in ZERO_STAGES[world_size()]:
            player = Player(pristine, case, size, zero_stage)
            player.train_to(steps // 2)
            if case == CONTINUED:
                saved[zero_stage] = player.state(), player.progress
            player.train_to(steps)
            player.write(folder / case / f"stage {zero_stage}")
    for before, after in CHANGES[world_size()] if saved else ():
        player = Player(make_task("residual"), CONTINUED, size, after, spoilt=True)
        player.load(*saved[before])
        player.train_to(steps)
        player.write(folder / CONTINUED / f"stage {before} to {after}")


def main(own_rank: str, num_workers: str, folder: str, size: str) -> None:
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = own_rank
    place = {"rank": int(own_rank), "world_size": int(num_workers), "timeout": timedelta(seconds=120)}
    dist.init_process_group("gloo", init_method=Path(folder, "meeting-point").as_uri(), **place)
    train_all(Path(folder), size)


if __name__ == "__main__":
    main(*sys.argv[1:])
