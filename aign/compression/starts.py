"""What projections begin with; without learning these are the ways of pruning that ours is compared with."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from aign.compression.anatomy import Anatomy, Reading
from aign.compression.folding import Projections, folded
from aign.compression.polar import polar
from aign.compression.replay import Replay

Start = Literal["best", "contribution", "activation", "magnitude", "components", "random"]
CHOICES: tuple[Start, ...] = ("contribution", "activation", "magnitude")
"""What ``best`` chooses from."""


@torch.no_grad()
def first_projections(
    start: Start,
    anatomy: Anatomy,
    weights: Mapping[str, Tensor],
    ranks: Mapping[str, int],
    observed: Mapping[str, Tensor],
    seed: int,
) -> Projections:
    """P by layer: columns of the identity for the channels that

    contribution   change most of what the next layers give: their mean size times that of the kernels that read them
    activation     the next layers read the largest values of, on average over what is ``observed``
    magnitude      have the largest kernels (sum of absolute values; Li et al., ICLR 2017)

    or the principal components of a layer's output (components), or random columns (random). ``best`` takes for each
    layer that one of the first three whose channels lose least of what the next layers make of them. At full rank these
    change nothing but the order of channels.
    """
    if start == "best":
        return _best(anatomy, weights, ranks, observed)
    rng = torch.Generator().manual_seed(seed)
    if start == "random":
        return {
            name: polar(torch.randn(anatomy.layers[name].num_out, rank, generator=rng)) for name, rank in ranks.items()
        }
    if start == "magnitude":
        return {name: _chosen(_kernel_sizes(anatomy, weights, name), rank) for name, rank in ranks.items()}
    if start == "components":
        nodes = {anatomy.layers[name].node for name in ranks}
        values = Replay(anatomy).look(weights, observed, nodes)[1]
        return {name: _components(values[anatomy.layers[name].node], rank) for name, rank in ranks.items()}
    sizes = activations(anatomy, weights, ranks, observed)
    if start == "contribution":
        sizes = {name: size * _hearing(anatomy, weights, name) for name, size in sizes.items()}
    return {name: _chosen(sizes[name], rank) for name, rank in ranks.items()}


def _best(
    anatomy: Anatomy, weights: Mapping[str, Tensor], ranks: Mapping[str, int], observed: Mapping[str, Tensor]
) -> Projections:
    nodes = {name: [anatomy.outlets[reader].node for reader in anatomy.readers(name)] for name in ranks}
    replay, found = Replay(anatomy), dict[str, Tensor]()
    taught = replay.look(weights, observed, {node for own in nodes.values() for node in own})[1]
    candidates = [first_projections(start, anatomy, weights, ranks, observed, 0) for start in CHOICES]

    def lost(name: str, projection: Tensor) -> float:
        """What is lost if this layer alone is projected."""
        made = replay.look(folded(anatomy, weights, {name: projection}), observed, nodes[name])[1]
        errors = [(made[node] - taught[node]).square().mean() / taught[node].square().mean() for node in nodes[name]]
        return torch.stack(errors).sum().item()

    for name in ranks:
        losses = [lost(name, one[name]) for one in candidates]
        found[name] = candidates[losses.index(min(losses))][name]
    return found


def activations(
    anatomy: Anatomy, weights: Mapping[str, Tensor], layers: Mapping[str, int], observed: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Mean absolute value of each channel as the next layers read it, by layer."""
    read = {name: [(reading, anatomy.read_by(reading.layer)) for reading in anatomy.readings[name]] for name in layers}
    wanted = {node for own in read.values() for _, node in own}
    values = Replay(anatomy).look(weights, observed, wanted)[1]

    def mean_size(name: str) -> Tensor:
        num_channels = anatomy.layers[name].num_out
        return torch.stack([_mean_size(values[node], num_channels, reading) for reading, node in read[name]]).mean(0)

    return {name: mean_size(name) for name in layers}


def _mean_size(value: Tensor, num_channels: int, reading: Reading) -> Tensor:
    # channels are the axis behind the samples, but for linear layers of sequences, which have them last
    axis = 1 if value.shape[1] >= reading.offset + num_channels * reading.positions else value.ndim - 1
    own = value.narrow(axis, reading.offset, num_channels * reading.positions)
    return own.unflatten(axis, (num_channels, reading.positions)).abs().movedim(axis, 0).flatten(1).mean(1)


def _hearing(anatomy: Anatomy, weights: Mapping[str, Tensor], name: str) -> Tensor:
    """The size of the kernels that read each channel of a layer, of all its readers together."""
    num_channels, squares = anatomy.layers[name].num_out, []
    for reading in anatomy.readings[name]:
        layer = anatomy.layers[reading.layer]
        read = weights[layer.weight].narrow(layer.in_axis, reading.offset, num_channels * reading.positions)
        by_channel = read.unflatten(layer.in_axis, (num_channels, reading.positions)).movedim(layer.in_axis, 0)
        squares.append(by_channel.flatten(1).square().sum(1))
    return torch.stack(squares).sum(0).sqrt()


def _kernel_sizes(anatomy: Anatomy, weights: Mapping[str, Tensor], name: str) -> Tensor:
    layer = anatomy.layers[name]
    return weights[layer.weight].abs().movedim(layer.out_axis, 0).flatten(1).sum(1)


def _chosen(scores: Tensor, rank: int) -> Tensor:
    """Columns of the identity, those of the largest scores, in the order of the channels."""
    kept = scores.topk(rank).indices.sort().values
    return torch.eye(len(scores), device=scores.device)[:, kept]


def _components(values: Tensor, rank: int) -> Tensor:
    rows = values.movedim(1, -1).flatten(0, -2)
    _, _, vt = torch.linalg.svd((rows - rows.mean(0)).double().mT @ (rows - rows.mean(0)).double())
    return vt[:rank].mT.to(values.dtype)
