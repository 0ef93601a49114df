"""Ways to make a network's forward and backward cheaper that, beside rounding, do not change what it computes."""

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from aign.errors import UserError
from aign.training.batch_norm import without_statistics

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
REPEATED = (nn.Sequential, nn.ModuleList)


@dataclass(frozen=True, kw_only=True)
class Acceleration:
    """Which of them are on."""

    compile: bool = False
    channels_last: bool = False
    activation_checkpointing: bool = False


def accelerate(network: nn.Module, how: Acceleration) -> nn.Module:
    """The network itself, changed in place; names of parameters and buffers stay."""
    if how.channels_last:
        _use_channels_last(network)
    if how.activation_checkpointing:
        _checkpoint_blocks(network)
    if how.compile:
        network.compile(dynamic=False)
    return network


def check_acceleration(networks: Iterable[nn.Module], how: Acceleration) -> None:
    """Raises UserError for an option that has nothing to act on in any of the networks."""
    inside = [module for network in networks for module in network.modules()]
    if how.channels_last and not any(isinstance(module, CONVOLUTIONS) for module in inside):
        raise UserError("channels_last", "no network here has convolutions", "leave it out")
    if how.activation_checkpointing and not any(isinstance(module, REPEATED) for module in inside):
        raise UserError("activation_checkpointing", "no network here has repeated layers", "leave it out")


def _use_channels_last(network: nn.Module) -> None:
    """Convolutions get and give images with their channels side by side, which GPUs are quicker with.

    Their weights stay as they are: DeepSpeed keeps them in flat buffers, and cannot send them around otherwise.
    """
    for module in network.modules():
        if isinstance(module, CONVOLUTIONS):
            module.register_forward_pre_hook(_to_channels_last)


def _to_channels_last(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(value.contiguous(memory_format=torch.channels_last) for value in inputs)


def _checkpoint_blocks(network: nn.Module) -> None:
    """Keep only the inputs of blocks for backward, and compute the rest of them again there.

    A block is a member of a ``ModuleList``, or one of about sqrt(n) stretches of a ``Sequential`` of n (Chen et al.
    2016), in the outermost of either.
    """
    for child in network.children():
        if isinstance(child, nn.Sequential):
            layers, count = list(child), round(math.sqrt(len(child)))
            ends = [len(layers) * i // count for i in range(count + 1)]
            stretches = [layers[first:last] for first, last in pairwise(ends)]
            child.forward = partial(_through, stretches)  # type: ignore[method-assign]
        elif isinstance(child, nn.ModuleList):
            for block in child:
                block.forward = partial(_recomputed, [block], block.forward)
        else:
            _checkpoint_blocks(child)


def _through(stretches: list[list[nn.Module]], inputs: Tensor) -> Tensor:
    for layers in stretches:
        inputs = _recomputed(layers, partial(_in_turn, layers), inputs)
    return inputs


def _in_turn(layers: list[nn.Module], inputs: Tensor) -> Tensor:
    for layer in layers:
        inputs = layer(inputs)
    return inputs


class _Again(AbstractContextManager[None]):
    """``without_statistics``, as often as activations are computed again: a gradient penalty needs them twice."""

    def __init__(self, modules: list[nn.Module]) -> None:
        self._modules = modules

    def __enter__(self) -> None:
        self._entered = without_statistics(self._modules)
        self._entered.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._entered.__exit__(*error)


@torch.compiler.disable  # it cannot trace the contexts; what lies around the blocks is compiled
def _recomputed(modules: list[nn.Module], forward: Callable[..., Any], *inputs: Any) -> Any:
    """What ``forward`` gives, without keeping its activations; batch norm in ``modules`` counts a batch only once."""
    if not torch.is_grad_enabled():
        return forward(*inputs)

    contexts = nullcontext(), _Again(modules)
    # no network draws random numbers, and the host would wait for the device to keep their state
    return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False, context_fn=lambda: contexts)
