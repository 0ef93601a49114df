"""What the adversarial step asks of an engine, and its plain PyTorch form."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class EngineState:
    """Everything the future of an engine depends on, independent of workers and sharding.

    ``tensors`` are whole: ``param/NAME``, ``buffer/NAME`` and ``KEY/NAME`` for each tensor KEY of the optimizer's
    state. ``meta`` is JSON: update counts by parameter name.
    """

    tensors: dict[str, Tensor]
    meta: dict[str, Any]

    @property
    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers by name, as ``Module.load_state_dict`` takes them."""
        return {p.split("/", 1)[1]: t for p, t in self.tensors.items() if p.startswith(("param/", "buffer/"))}


@runtime_checkable
class Engine(Protocol):
    """A network with its optimizer. Forward goes through ``module``, backward and update through the engine."""

    module: nn.Module

    def backward(self, loss: Tensor) -> None:
        """Gradients of the loss, averaged over workers by the time of ``step``."""

    def step(self) -> None:
        """One optimizer update; gradients are zero afterwards."""

    def set_lr_factor(self, factor: float) -> None:
        """Multiply the initial learning rates."""

    def state(self) -> EngineState:
        """Collective: every worker calls it; whole tensors on the CPU."""

    def load(self, state: EngineState) -> None:
        """Collective: take over weights and optimizer state."""


class TorchEngine:
    """One process, no sharding: the reference that every other engine must equal."""

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.module, self.optimizer = module, optimizer
        self._initial_lrs = [group["lr"] for group in optimizer.param_groups]

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def step(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad()

    def set_lr_factor(self, factor: float) -> None:
        for group, lr in zip(self.optimizer.param_groups, self._initial_lrs, strict=True):
            group["lr"] = lr * factor

    def state(self) -> EngineState:
        tensors: dict[str, Tensor] = {}
        updates: dict[str, int] = {}
        for name, parameter in self.module.named_parameters():
            tensors[f"param/{name}"] = parameter
            for key, value in self.optimizer.state.get(parameter, {}).items():
                if key == "step":
                    updates[name] = int(value)
                else:
                    tensors[f"{key}/{name}"] = value
        tensors |= {f"buffer/{name}": buffer for name, buffer in self.module.named_buffers()}
        return EngineState({k: v.detach().to("cpu", copy=True) for k, v in tensors.items()}, {"updates": updates})

    @torch.no_grad()
    def load(self, state: EngineState) -> None:
        self.module.load_state_dict(state.weights)
        keys = {path.split("/")[0] for path in state.tensors} - {"param", "buffer"}
        updates = state.meta["updates"]
        for name, parameter in self.module.named_parameters():
            self.optimizer.state[parameter] = {  # empty before the first update
                **({"step": torch.tensor(float(updates[name]))} if name in updates else {}),
                **{
                    key: tensor.to(parameter.device, copy=True)
                    for key in keys
                    if (tensor := state.tensors.get(f"{key}/{name}")) is not None
                },
            }
