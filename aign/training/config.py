"""Options that every task is trained with."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from aign.errors import UserError
from aign.losses.adversarial import AdversarialLoss
from aign.options import Changeable, OverTheRun, check_not_negative, check_positive
from aign.training.precision import Precision


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a task is trained, whatever the task and wherever it runs."""

    seed: int = 0
    """Decides data, initial weights and everything random in a run."""
    steps: int = 2000
    """Length of the run. A stage ends after its share of steps, or earlier when it has made as many generator updates
    (the update rule may make two in a step), so that no stage wins by more updates."""
    batch_size: int = 128
    """Samples of each part (labelled, unlabelled, remembered) in a step, over all workers together."""
    generator_lr: float = 5e-4
    """Adam's learning rate of the generator."""
    discriminator_lr: float = 1e-4
    """Adam's learning rate of the discriminators."""
    betas: tuple[float, float] = (0.5, 0.99)
    """Adam's decay rates, of both."""
    lr_schedule: Annotated[Literal["constant", "linear", "cosine"], OverTheRun("constant".__eq__)] = "constant"
    """How the learning rates fall to zero over the run."""
    warmup_steps: int = 0
    """Steps over which the learning rates rise from zero first."""
    precision: Precision = "fp32"
    """What networks compute in; weights, optimizers, renderers and losses are always fp32. fp16 scales losses."""
    accumulate: int = 1
    """Parts that each worker computes its samples of a step in, one after the other, to need less memory. Batch norm
    then sees only a part at a time."""
    clip: float = 0.0
    """Largest norm of a player's gradient, longer ones are shortened to it; 0: no limit."""
    ema: float = 0.0
    """Decay of the moving average of the generator's weights, which is what is evaluated and exported (0.999, say);
    0: the weights themselves."""
    adversarial_loss: AdversarialLoss = "bce"
    """bce as in the paper, or least-squares."""
    r1: float = 0.0
    """Weight of the zero-centred gradient penalty on memories; 0 switches it off."""
    update_rule: Literal["always", "ratio", "paper"] = "always"
    """When the generator is updated: every step, every `ratio` steps, or by the paper's thresholds."""
    ratio: int = 1
    """Discriminator updates for each generator update, with the rule `ratio`."""
    theta_d: float = 0.695
    """Rule `paper`: no generator update while the discriminator's loss is above this."""
    theta_g: float = 0.75
    """Rule `paper`: two generator updates while the generator's loss is above this and the discriminator is strong."""
    log_every: Changeable[int] = 20
    """Steps between lines of metrics, each the mean since the last line."""
    evaluate_every: Changeable[int] = 500
    """Steps between evaluations on the test set, each with a picture."""
    checkpoint_every: Changeable[int] = 500
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        check_positive(
            self, "steps", "batch_size", "accumulate", "ratio", "log_every", "evaluate_every", "checkpoint_every"
        )
        check_not_negative(self, "generator_lr", "discriminator_lr", "warmup_steps", "r1", "clip")
        if not 0 <= self.ema < 1:
            raise UserError(f"ema = {self.ema}", "not a decay in [0, 1)", "give 0.999, say, or 0")
        for name, rule in (("ratio", "ratio"), ("theta_d", "paper"), ("theta_g", "paper")):
            value = getattr(self, name)
            if value != type(self).__dataclass_fields__[name].default and self.update_rule != rule:
                raise UserError(
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

    def generator_updates(self, step: int, discriminator_loss: float, generator_loss: float) -> int:
        """The update rule of the supplement ("Stabilizing training"): none, one or two generator updates."""
        if self.update_rule == "ratio":
            return int(step % self.ratio == self.ratio - 1)
        if discriminator_loss > self.theta_d:
            return 0
        return 2 if generator_loss > self.theta_g else 1
