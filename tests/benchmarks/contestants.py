"""Who takes part in the comparison of step times: our step on DeepSpeed engines, and two loops written by hand.

A contestant is a function that takes one step on a batch and returns its loss terms. All of them start with the same
weights, use the same torch Adam and average gradients over the workers.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Adam

from aign.losses.adversarial import discriminator_loss, generator_loss
from aign.tasks.base import Task
from aign.tasks.parts import Terms
from aign.training.batch_norm import with_global_batch_norm
from aign.training.config import TrainingConfig
from aign.training.players import make_engines
from aign.training.step import Batch, adversarial_step
from aign.training.workers import world_size
from ray_jobs.worker.deepspeed_engine import DeepSpeedEngine
from tests.own_networks import with_own_networks

Step = Callable[[Batch], Terms]
TEXTBOOK, OWN_ORDER = "DDP, textbook order", "DDP, our order"
ZERO_STAGES = (0, 1, 2, 3)


def contestants(task: Task, config: TrainingConfig) -> dict[str, Step]:
    """All contestants by name."""
    names = [TEXTBOOK, OWN_ORDER, *map(stage_name, ZERO_STAGES)]
    return {name: contestant(name, task, config) for name in names}


def stage_name(zero_stage: int) -> str:
    return f"aign, ZeRO stage {zero_stage}"


def contestant(name: str, task: Task, config: TrainingConfig) -> Step:
    task = with_own_networks(task)
    if name in (TEXTBOOK, OWN_ORDER):
        return HandWritten(task, config, textbook=name == TEXTBOOK)
    return on_deepspeed(task, config, int(name[-1]))


def on_deepspeed(task: Task, config: TrainingConfig, zero_stage: int, engine: type = DeepSpeedEngine) -> Step:
    """Our step, on the engines of a run."""
    micro_batch = config.batch_size // world_size()
    engines = make_engines(task, config, partial(engine, zero_stage=zero_stage, micro_batch_size=micro_batch))
    (stage,) = (stage for stage in task.objective.stages if stage.discriminators)
    return lambda batch: adversarial_step(task, engines, stage, batch, config, 0)[0]


class HandWritten:
    """A loop on torch's DistributedDataParallel, for one discriminator and unlabelled data.

    In the textbook's order the discriminator sees memories and inferred samples in two passes, and the generator is
    run once for each player; in our order one concatenated pass and one run serve. Both freeze the discriminator
    while the generator learns and leave out what constant buffers do not need.
    """

    def __init__(self, task: Task, config: TrainingConfig, *, textbook: bool) -> None:
        self.task, self.textbook, self.loss = task, textbook, config.adversarial_loss
        ((self.name, self.critic),) = task.discriminators.items()
        (self.stage,) = (stage for stage in task.objective.stages if stage.discriminators)
        distributed = partial(DistributedDataParallel, broadcast_buffers=False, gradient_as_bucket_view=True)
        self.generator = distributed(with_global_batch_norm(task.model.generator))
        self.discriminator = distributed(with_global_batch_norm(self.critic.network))
        adam = partial(Adam, betas=config.betas, fused=True)
        self.generator_adam = adam(self.generator.parameters(), lr=config.generator_lr)
        self.discriminator_adam = adam(self.discriminator.parameters(), lr=config.discriminator_lr)

    def __call__(self, batch: Batch) -> Terms:
        observed = batch.unlabelled["observed"]
        memories = self.critic.sees(batch.remembered[self.name])
        if self.textbook:
            with torch.no_grad():
                imagined = self.critic.sees(self.generator(observed))
            real, fake = self.discriminator(memories), self.discriminator(imagined)
            d_loss = self.learn_to_tell(real, fake)
            inferred = self.generator(observed)
        else:
            inferred = self.generator(observed)
            imagined = self.critic.sees(inferred).detach()
            d_loss = self.learn_to_tell(*self.discriminator(torch.cat([memories, imagined])).split(len(memories)))
        return {f"discriminator/{self.name}": d_loss, **self.learn_to_infer(inferred, observed)}

    def learn_to_tell(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        loss = discriminator_loss(real, fake, self.loss)
        self.discriminator_adam.zero_grad()
        loss.backward()
        self.discriminator_adam.step()
        return loss.detach()

    def learn_to_infer(self, inferred: dict, observed: dict) -> Terms:
        self.discriminator.requires_grad_(False)
        logits = self.discriminator.module(self.critic.sees(inferred))
        terms = self.task.objective.reconstruction(self.task.model.renderer(inferred, observed), observed, 0.0)
        terms[f"adversarial/{self.name}"] = generator_loss(logits, self.loss)
        loss = sum(self.stage.weights[name] * term for name, term in terms.items())
        self.discriminator.requires_grad_(True)
        self.generator_adam.zero_grad()
        loss.backward()
        self.generator_adam.step()
        return {name: term.detach() for name, term in terms.items()}
