"""What the adversarial step asks of an engine, and its plain PyTorch form."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from aign.training.updates import Average, LossScale, UpdateOptions, finish_gradients, swapped_weights


@dataclass(frozen=True)
class EngineState:
    """Everything the future of an engine depends on, independent of workers and sharding.

    ``tensors`` are whole: ``param/NAME``, ``buffer/NAME``, ``ema/NAME`` if weights are averaged, and ``KEY/NAME`` for
    each tensor KEY of the optimizer's state. ``meta`` is JSON: update counts by parameter name, and where there are
    any, those of the average and the loss scale.
    """

    tensors: dict[str, Tensor]
    meta: dict[str, Any]

    @property
    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers by name, as ``Module.load_state_dict`` takes them."""
        return self._named("param") | self._named("buffer")

    @property
    def averaged_weights(self) -> dict[str, Tensor]:
        """What to infer with: averages of the parameters where there are any, and buffers."""
        return self.weights | self._named("ema")

    def _named(self, kind: str) -> dict[str, Tensor]:
        return {path.removeprefix(f"{kind}/"): t for path, t in self.tensors.items() if path.startswith(f"{kind}/")}


@runtime_checkable
class Engine(Protocol):
    """A network with its optimizer. Forward goes through ``module``, backward and update through the engine."""

    module: nn.Module

    def backward(self, loss: Tensor) -> None:
        """Add the loss's gradients; by the time of ``step`` they are averaged over workers."""

    def step(self) -> None:
        """One optimizer update; gradients are zero afterwards.

        A parameter that requires gradients but has none is updated with zeros. A group of the optimizer that requires
        no gradients is left alone: weights, moments and count of updates.
        """

    def set_lr_factor(self, factor: float) -> None:
        """Multiply the initial learning rates."""

    def averaged(self) -> AbstractContextManager[None]:
        """While it lasts, ``module`` has averaged weights, if any are kept. Collective."""

    def state(self) -> EngineState:
        """Collective: every worker calls it; whole tensors on the CPU."""

    def load(self, state: EngineState) -> None:
        """Collective: take over weights and optimizer state."""


class TorchEngine:
    """One process, no sharding: the reference that every other engine must equal."""

    def __init__(self, module: nn.Module, optimizer: Optimizer, updates: UpdateOptions | None = None) -> None:
        self.module, self.optimizer, self.updates = module, optimizer, updates or UpdateOptions()
        self._initial_lrs = [group["lr"] for group in optimizer.param_groups]
        self._loss_scale = LossScale() if self.updates.scale_loss else None
        self._average = Average(self.updates.ema, list(module.parameters())) if self.updates.ema else None

    def backward(self, loss: Tensor) -> None:
        (loss * self._loss_scale.scale if self._loss_scale else loss).backward()

    def step(self) -> None:
        for parameter in (p for group in self.optimizer.param_groups for p in group["params"]):
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        finish_gradients(self.optimizer, self.updates, self._loss_scale)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self._average:
            self._average.update(list(self.module.parameters()))

    def set_lr_factor(self, factor: float) -> None:
        for group, lr in zip(self.optimizer.param_groups, self._initial_lrs, strict=True):
            group["lr"] = lr * factor

    @contextmanager
    def averaged(self) -> Iterator[None]:
        with swapped_weights(self.module.parameters(), self._average.values) if self._average else nullcontext():
            yield

    def state(self) -> EngineState:
        tensors: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        for name, parameter in self.module.named_parameters():
            tensors[f"param/{name}"] = parameter
            for key, value in self.optimizer.state.get(parameter, {}).items():
                if key == "step":
                    counts[name] = int(value)
                else:
                    tensors[f"{key}/{name}"] = value
        tensors |= {f"buffer/{name}": buffer for name, buffer in persistent_buffers(self.module).items()}
        if self._average:
            names = (name for name, _ in self.module.named_parameters())
            tensors |= {f"ema/{name}": value for name, value in zip(names, self._average.values, strict=True)}
        meta = {"updates": counts, **meta_of(self._average, self._loss_scale)}
        return EngineState({k: v.detach().to("cpu", copy=True) for k, v in tensors.items()}, meta)

    @torch.no_grad()
    def load(self, state: EngineState) -> None:
        self.module.load_state_dict(state.weights)
        keys = {path.split("/")[0] for path in state.tensors} - {"param", "buffer", "ema"}
        updates = state.meta["updates"]
        for name, parameter in self.module.named_parameters():
            self.optimizer.state[parameter] = {  # empty before the first update
                **({"step": update_count(updates[name], self.optimizer, parameter.device)} if name in updates else {}),
                **{
                    key: tensor.to(parameter.device, copy=True)
                    for key in keys
                    if (tensor := state.tensors.get(f"{key}/{name}")) is not None
                },
            }
        load_meta(state.meta, self._average, self._loss_scale)
        if self._average:
            averages = state.averaged_weights
            for (name, _), value in zip(self.module.named_parameters(), self._average.values, strict=True):
                value.copy_(averages[name])


def persistent_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Buffers that a state dict holds: a table that is always the same is not learnt, and not kept."""
    kept = module.state_dict(keep_vars=True).keys()
    return {name: buffer for name, buffer in module.named_buffers() if name in kept}


def update_count(count: int, optimizer: Optimizer, device: torch.device) -> Tensor:
    """Adam's count of updates where it keeps it: on the parameters' device if it is fused, else on the CPU."""
    return torch.tensor(float(count), device=device if optimizer.defaults.get("fused") else "cpu")


def meta_of(average: Average | None, loss_scale: LossScale | None) -> dict[str, Any]:
    """What a state keeps of an average and a loss scale beside tensors."""
    return {
        **({"averaged_updates": average.num_updates} if average else {}),
        **({"loss_scale": loss_scale.state()} if loss_scale else {}),
    }


def load_meta(meta: dict[str, Any], average: Average | None, loss_scale: LossScale | None) -> None:
    """The inverse of ``meta_of``; what a state does not have starts anew."""
    if average:
        average.num_updates = meta.get("averaged_updates", 0)
    if loss_scale and "loss_scale" in meta:
        loss_scale.load(meta["loss_scale"])
