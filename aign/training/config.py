"""Options that every task is trained with."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le, Lt

from aign.errors import NotTrainable
from aign.losses.adversarial import AdversarialLoss
from aign.options import Changeable, CheckedOptions, LearningRate, OverTheRun, Seed, Steps, Weight
from aign.training.precision import Precision

Decay = Annotated[float, Ge(0), Lt(1)]
"""Of a moving average."""
Threshold = Annotated[float, Ge(0), Le(1000)]
"""Of a discriminator's or generator's loss, in nats."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(CheckedOptions):
    """How a task is trained, whatever the task and wherever it runs."""

    seed: Seed = 0
    """Decides data, initial weights and everything random in a run."""
    steps: Steps = 2000
    """Length of the run. A stage ends after its share of steps, or earlier when it has made as many generator updates
    (the update rule may make two in a step), so that no stage wins by more updates."""
    batch_size: Annotated[int, Ge(1), Le(2**20)] = 128
    """Samples of each part (labelled, unlabelled, remembered) in a step, over all workers together."""
    generator_lr: LearningRate = 5e-4
    """Adam's learning rate of the generator."""
    discriminator_lr: LearningRate = 1e-4
    """Adam's learning rate of the discriminators."""
    betas: tuple[Decay, Decay] = (0.5, 0.99)
    """Adam's decay rates, of both."""
    lr_schedule: Annotated[Literal["constant", "linear", "cosine"], OverTheRun("constant".__eq__)] = "constant"
    """How the learning rates fall to zero over the run."""
    warmup_steps: Annotated[int, Ge(0), Le(10**9)] = 0
    """Steps over which the learning rates rise from zero first."""
    precision: Precision = "fp32"
    """What networks compute in; weights, optimizers, renderers and losses are always fp32. fp16 scales losses."""
    accumulate: Annotated[int, Ge(1), Le(2**20)] = 1
    """Parts that each worker computes its samples of a step in, one after the other, to need less memory. Batch norm
    then sees only a part at a time."""
    clip: Annotated[float, Ge(0), Le(10**9)] = 0.0
    """Largest norm of a player's gradient, longer ones are shortened to it; 0: no limit."""
    ema: Decay = 0.0
    """Decay of the moving average of the generator's weights, which is what is evaluated and exported (0.999, say);
    0: the weights themselves."""
    adversarial_loss: AdversarialLoss = "bce"
    """bce as in the paper, or least-squares."""
    r1: Weight = 0.0
    """Weight of the zero-centred gradient penalty on memories; 0 switches it off."""
    r1_every: Annotated[int, Ge(1), Le(10**4)] = 1
    """Steps from one gradient penalty to the next, each weighted so many times more: 16 saves most of its time."""
    update_rule: Literal["always", "ratio", "paper"] = "always"
    """When the generator is updated: every step, every `ratio` steps, or by the paper's thresholds."""
    ratio: Annotated[int, Ge(1), Le(10**6)] = 1
    """Discriminator updates for each generator update, with the rule `ratio`."""
    theta_d: Threshold = 0.695
    """Rule `paper`: no generator update while the discriminator's loss is above this."""
    theta_g: Threshold = 0.75
    """Rule `paper`: two generator updates while the generator's loss is above this and the discriminator is strong."""
    log_every: Changeable[Steps] = 20
    """Steps between lines of metrics, each the mean since the last line."""
    evaluate_every: Changeable[Steps] = 500
    """Steps between evaluations on the validation split, each with a picture."""
    checkpoint_every: Changeable[Steps] = 500
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.r1_every != 1 and not self.r1:
            raise NotTrainable(f"r1_every = {self.r1_every}", "no effect without a gradient penalty", "add --r1 1, say")
        for name, rule in (("ratio", "ratio"), ("theta_d", "paper"), ("theta_g", "paper")):
            value = getattr(self, name)
            if value != type(self).__dataclass_fields__[name].default and self.update_rule != rule:
                raise NotTrainable(
                    f"{name} = {value}", f"no effect with update rule {self.update_rule!r}", f"add --update-rule {rule}"
                )

    def lr_factor(self, step: int) -> float:
        """What the learning rates are multiplied with at a step: a pure function, so it needs no saving."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.lr_schedule == "constant":
            return 1.0
        done = min(1.0, (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps))
        return 1.0 - done if self.lr_schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))

    def penalty_weight(self, step: int) -> float:
        """Weight of the gradient penalty in a step: lazy regularisation (Karras et al., StyleGAN2, CVPR 2020, 3.1)."""
        return self.r1 * self.r1_every if step % self.r1_every == 0 else 0.0

    def generator_updates(self, step: int, discriminator_loss: float, generator_loss: float) -> int:
        """The update rule of the supplement ("Stabilizing training"): none, one or two generator updates."""
        if self.update_rule == "ratio":
            return int(step % self.ratio == self.ratio - 1)
        if discriminator_loss > self.theta_d:
            return 0
        return 2 if generator_loss > self.theta_g else 1
