"""Projections folded into the weights on both sides of them (Eq. 8), and batch norms into the layers before them."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from aign.compression.anatomy import Anatomy, Layer

Projections = Mapping[str, Tensor]
"""P (channels, rank) by layer."""


def first_columns(anatomy: Anatomy, ranks: Mapping[str, int]) -> dict[str, Tensor]:
    """The simplest projections of these ranks: each layer's first channels."""
    return {name: torch.eye(anatomy.layers[name].num_out, rank) for name, rank in ranks.items()}


def folded(anatomy: Anatomy, weights: Mapping[str, Tensor], projections: Projections) -> dict[str, Tensor]:
    """The weights of the thinner network: W P and b P of projected layers, P^T W of those that read them (Eq. 8).

    All weights are given back, those that no projection touches as they are.
    """
    return with_outputs_folded(anatomy, half_folded(anatomy, weights, projections), projections)


def with_outputs_folded(anatomy: Anatomy, half: Mapping[str, Tensor], projections: Projections) -> dict[str, Tensor]:
    """The thinner network's weights from those that are ``half_folded``."""
    thin = dict(half)
    for name, projection in projections.items():
        layer = anatomy.layers[name]
        thin[layer.weight] = _contracted(thin[layer.weight], layer.out_axis, projection)
        if layer.bias is not None:
            thin[layer.bias] = _contracted(thin[layer.bias], 0, projection)
    return thin


def half_folded(anatomy: Anatomy, weights: Mapping[str, Tensor], projections: Projections) -> dict[str, Tensor]:
    """As ``folded``, but every layer still gives all its channels: what a reconstruction is computed with (Eq. 7)."""
    half = dict(weights)
    for reader, blocks in _read_blocks(anatomy, projections).items():
        layer = anatomy.layers[reader]
        half[layer.weight] = _with_inputs_folded(weights[layer.weight], layer, blocks, projections)
    return half


def num_inputs(anatomy: Anatomy, name: str, ranks: Mapping[str, int]) -> int:
    """How many inputs a layer has left, where layers have so many outputs left."""
    layer = anatomy.layers[name]
    blocks = _read_blocks(anatomy, ranks).get(name, [])
    return layer.num_in + sum((ranks[source] - anatomy.layers[source].num_out) * n for source, _, n in blocks)


def _read_blocks(anatomy: Anatomy, projected: Mapping) -> dict[str, list[tuple[str, int, int]]]:
    """By layer that reads: whose channels, from which of its inputs on, inputs for each channel."""
    found: dict[str, list[tuple[str, int, int]]] = {}
    for source in projected:
        for reading in anatomy.readings[source]:
            found.setdefault(reading.layer, []).append((source, reading.offset, reading.positions))
    return {reader: sorted(blocks, key=lambda block: block[1]) for reader, blocks in found.items()}


def _with_inputs_folded(
    weight: Tensor, layer: Layer, blocks: list[tuple[str, int, int]], projections: Projections
) -> Tensor:
    axis, parts, done = layer.in_axis, [], 0
    for source, offset, positions in blocks:
        projection = projections[source]
        size = len(projection) * positions
        parts.append(weight.narrow(axis, done, offset - done))
        block = weight.narrow(axis, offset, size).unflatten(axis, (len(projection), positions))
        parts.append(_contracted(block, axis, projection).flatten(axis, axis + 1))
        done = offset + size
    parts.append(weight.narrow(axis, done, weight.shape[axis] - done))
    return torch.cat(parts, axis)


def _contracted(values: Tensor, axis: int, projection: Tensor) -> Tensor:
    """The sum over an axis with the columns of a projection, which take its place."""
    return torch.tensordot(values, projection.to(values.dtype), ([axis], [0])).movedim(-1, axis)


@torch.no_grad()
def without_batch_norm(network: nn.Module, anatomy: Anatomy) -> nn.Module:
    """A copy in which the layers do what batch norms right behind them did in evaluation mode."""
    network = copy.deepcopy(network)
    for norm in anatomy.batch_norms:
        module = network.get_submodule(norm.name)
        layer: Any = network.get_submodule(norm.layer)
        if not isinstance(module, _BatchNorm) or not hasattr(layer, "bias"):
            continue
        assert module.running_mean is not None
        assert module.running_var is not None
        factor = (module.running_var + module.eps).rsqrt() * (1 if module.weight is None else module.weight)
        shift = 0 if module.bias is None else module.bias
        bias = -module.running_mean if layer.bias is None else layer.bias - module.running_mean
        shape = [1] * layer.weight.ndim
        shape[anatomy.layers[norm.layer].out_axis] = -1
        layer.weight = nn.Parameter(layer.weight * factor.view(shape))
        layer.bias = nn.Parameter(bias * factor + shift)
        network.set_submodule(norm.name, nn.Identity())
    return network
