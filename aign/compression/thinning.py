"""A network made as thin as some weights are: a plain network, of the same modules with fewer channels."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

THIN, BACK = "0", "1"
"""Names of the two layers that a factorised one consists of."""


def take_over(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load a state dict of other sizes into a network, whose layers become as large as what they hold.

    Batch norms that ``weights`` has nothing of vanish, and layers that it has two of (``factorised``) become two.
    Raises RuntimeError, as ``load_state_dict`` does, for the weights of another network.
    """
    for name, module in list(network.named_modules()):
        if isinstance(module, _BatchNorm) and not any(key.startswith(f"{name}.") for key in weights):
            network.set_submodule(name, nn.Identity())
        elif f"{name}.weight" not in weights and f"{name}.{THIN}.weight" in weights and is_layer(module):
            thin, back = weights[f"{name}.{THIN}.weight"], weights[f"{name}.{BACK}.weight"]
            network.set_submodule(name, _two(module, thin, back))
        else:
            _resize(module, name, weights)
    for name, module in network.named_modules():
        _resize(module, name, weights)
    network.load_state_dict(dict(weights))


def copied_thin(network: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """A copy of a network that has taken weights over, on a CPU."""
    network = copy.deepcopy(network).cpu()
    take_over(network, {name: value.detach() for name, value in weights.items()})
    return network


def is_layer(module: nn.Module) -> bool:
    """Whether it is a convolution or a linear layer."""
    return isinstance(module, _ConvNd | nn.Linear)


def _two(module: nn.Module, thin: Tensor, back: Tensor) -> nn.Sequential:
    """A layer of a few channels, and one that makes the old number of them again, position by position."""
    if isinstance(module, nn.Linear):
        return nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1))
    assert isinstance(module, _ConvNd)
    point = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[back.ndim - 2]
    own = type(module)(
        module.in_channels,
        module.out_channels,
        module.kernel_size,  # type: ignore[arg-type]
        stride=module.stride,  # type: ignore[arg-type]
        padding=module.padding,  # type: ignore[arg-type]
        dilation=module.dilation,  # type: ignore[arg-type]
        bias=False,
        **({"output_padding": module.output_padding} if isinstance(module, _ConvTransposeNd) else {}),  # type: ignore[arg-type]
    )
    return nn.Sequential(own, point(1, 1, 1))


def _resize(module: nn.Module, name: str, weights: Mapping[str, Tensor]) -> None:
    """Make a module's own parameters and buffers as large as the weights are."""
    prefix = f"{name}." if name else ""
    kinds: list[Any] = [module._parameters, module._buffers]
    for kind in kinds:
        for own, value in kind.items():
            stored = weights.get(f"{prefix}{own}")
            if stored is None or (value is not None and value.shape == stored.shape):
                continue
            device = next((p.device for p in module.parameters(recurse=False)), stored.device)
            fresh = torch.empty(stored.shape, dtype=stored.dtype, device=device)
            kind[own] = nn.Parameter(fresh) if kind is module._parameters else fresh
    _tell_sizes(module)


def _tell_sizes(module: nn.Module) -> None:
    """A module's own words about its size, which it prints and some exporters read."""
    if isinstance(module, _ConvNd):
        outputs, inputs = (1, 0) if isinstance(module, _ConvTransposeNd) else (0, 1)
        module.out_channels = module.weight.shape[outputs] * (module.groups if outputs else 1)
        module.in_channels = module.weight.shape[inputs] * (module.groups if inputs else 1)
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _BatchNorm) and module.running_mean is not None:
        module.num_features = len(module.running_mean)
