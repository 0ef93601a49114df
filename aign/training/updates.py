"""What happens around an optimizer's update, the same in every engine: clipping, loss scaling, averaged weights."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

INITIAL_LOSS_SCALE = 2.0**16
STEPS_TO_GROW = 2000


@dataclass(frozen=True, kw_only=True)
class UpdateOptions:
    """How a network is updated beside what its optimizer does."""

    clip: float = 0.0
    """Largest Euclidean norm of the gradient of all parameters together; 0: as it is."""
    ema: float = 0.0
    """Decay of the moving average of the weights; 0: none is kept."""
    scale_loss: bool = False
    """Whether losses are scaled so that gradients fit into float16."""


class LossScale:
    """Dynamic loss scaling: halved at an update whose gradients overflow (it is left out), doubled after many good.

    The host waits for the device once an update: whether it is made depends on it (Micikevicius et al. 2018, 3.2).
    """

    def __init__(self) -> None:
        self.scale, self.good_steps = INITIAL_LOSS_SCALE, 0

    def update(self, *, finite: bool) -> None:
        self.good_steps = self.good_steps + 1 if finite else 0
        if not finite:
            self.scale = max(1.0, self.scale / 2)
        elif self.good_steps == STEPS_TO_GROW:
            self.scale, self.good_steps = 2 * self.scale, 0

    def state(self) -> dict[str, Any]:
        return vars(self).copy()

    def load(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def finish_gradients(optimizer: Optimizer, updates: UpdateOptions, loss_scale: LossScale | None) -> None:
    """Unscale and clip an optimizer's gradients in place, right before its step.

    Where they overflow, there are none afterwards: the step then changes nothing.
    """
    if not updates.clip and loss_scale is None:
        return
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    gradients = [p.grad for p in parameters]
    if loss_scale is not None:
        torch._foreach_mul_(gradients, 1.0 / loss_scale.scale)
    norm = get_total_norm(gradients)
    if loss_scale is not None:
        finite = bool(norm.isfinite())
        loss_scale.update(finite=finite)
        if not finite:
            optimizer.zero_grad(set_to_none=True)
            return
    if updates.clip:
        clip_grads_with_norm_(parameters, updates.clip, norm)


class Average:
    """A moving average of tensors. Its decay grows to the given one, so that a short run forgets its beginning too."""

    def __init__(self, decay: float, tensors: Sequence[Tensor]) -> None:
        self.decay, self.num_updates = decay, 0
        self.values = [tensor.detach().clone() for tensor in tensors]

    @torch.no_grad()
    def update(self, tensors: Sequence[Tensor]) -> None:
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        torch._foreach_lerp_(self.values, list(tensors), 1.0 - decay)


@contextmanager
def swapped_weights(parameters: Iterable[Tensor], values: Sequence[Tensor]) -> Iterator[None]:
    """Parameters have other values for a while; no update may happen in it."""
    parameters = list(parameters)
    own = [parameter.data for parameter in parameters]
    for parameter, value in zip(parameters, values, strict=True):
        parameter.data = value
    try:
        yield
    finally:
        for parameter, value in zip(parameters, own, strict=True):
            parameter.data = value
