"""A few adversarial steps of a task on a device, in whatever engine and with whatever acceleration."""

from functools import cache, partial

import torch
from torch import Tensor

from aign.tasks.base import Task
from aign.training.acceleration import Acceleration
from aign.training.engine import EngineState, TorchEngine
from aign.training.loop import draw_batch
from aign.training.players import MakeEngine, make_engines
from aign.training.run_config import RunConfig
from aign.training.step import adversarial_step
from tests.gpu.parts import Place
from tests.own_networks import with_own_networks

SMALL = {
    "pose": {"width": 32, "num_blocks": 1, "batch_size": 16},
    "superres": {"num_images": 60, "size": 48, "width": 8, "discriminator_width": 4, "batch_size": 8},
}
LARGE = {"pose": {"batch_size": 128}, "superres": {"num_images": 200, "batch_size": 32}}
"""A fully connected network and a convolutional one with batch norm."""
QUIET = {"r1": 0.0, "generator_lr": 1e-4, "discriminator_lr": 2e-5, "update_rule": "always"}
"""Options with which rounding errors stay small, and which every engine takes."""
STEPS = 10


class Learner:
    """A task's last stage, step by step."""

    def __init__(
        self,
        place: Place,
        task: str = "pose",
        make_engine: MakeEngine = TorchEngine,
        how: Acceleration | None = None,
        **options,
    ) -> None:
        self.run = RunConfig.of(task, **{**QUIET, **(SMALL if place.small else LARGE)[task], **options})
        self.task = with_own_networks(_pristine(place, task))
        self.engines = make_engines(self.task, self.run.training, make_engine, how)
        self.step = 0
        self.losses: list[Tensor] = []

    def learn(self, steps: int = STEPS) -> "Learner":
        stage = self.task.objective.stages[-1]
        for _ in range(steps):
            batch = draw_batch(self.task, stage, self.run.training, self.step)
            terms, _ = adversarial_step(self.task, self.engines, stage, batch, self.run.training, self.step)
            self.losses.append(torch.stack(list(terms.values())))
            self.step += 1
        return self

    def loss_gap(self, other: "Learner") -> float:
        """Largest difference of a loss term at any step, in parts of the other's largest."""
        own, others = (torch.stack(learner.losses).double().cpu() for learner in (self, other))
        return ((own - others).abs().max() / others.abs().max()).item()

    def distance(self, other: "Learner") -> float:
        return distance(self.engines.generator.state(), other.engines.generator.state())


@cache
def _pristine(place: Place, task: str) -> Task:
    """A task as it is before anything is learnt: its data takes seconds to make."""
    return RunConfig.of(task, **(SMALL if place.small else LARGE)[task]).make_task(place.device)


def deepspeed(place: Place, task: str, zero_stage: int, *, offload: bool = False) -> MakeEngine:
    """Makes DeepSpeed's engines of a task for one worker."""
    from ray_jobs.worker.deepspeed_engine import DeepSpeedEngine  # DeepSpeed's device is that of the process

    size = (SMALL if place.small else LARGE)[task]["batch_size"]
    return partial(DeepSpeedEngine, zero_stage=zero_stage, micro_batch_size=size, offload=offload)


def distance(a: EngineState, b: EngineState) -> float:
    """Euclidean distance of all weights, in parts of their length."""
    names = [name for name in b.tensors if name.startswith("param/")]
    one, other = (torch.cat([state.tensors[name].double().flatten() for name in names]) for state in (a, b))
    return ((one - other).norm() / other.norm()).item()


def at_most(value: float, bound: float, what: str) -> tuple[bool, str]:
    """The verdict on a number that must be small."""
    return value <= bound, f"{what} {value:.1e} (at most {bound:.0e})"
