"""How much each layer by itself can be projected, and ranks that follow from it (Cascaded Projection, section 4.1)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam

from aign.compression.ranks import Ranks, largest_within, macs, thinner
from aign.compression.source import Source
from aign.compression.starts import first_projections
from aign.compression.students import FEATURES, Projected

SHARES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75)
STEPS, RATE = 10, 2e-2
"""Of Adam, for each point of a curve."""
Curves = Mapping[str, Mapping[float, float]]
"""Normalised reconstruction error (Eq. 9) by the share of channels that is left, by layer."""


@dataclass(frozen=True)
class Point:
    """One layer, projected alone."""

    layer: str
    share: float
    error: float
    """Normalised reconstruction error behind the layers that read it."""
    network: nn.Module
    """The thin network."""


def measure_layers(source: Source, observed: Mapping[str, Tensor], shares: Sequence[float] = SHARES) -> Iterator[Point]:
    """Each layer alone at each share of its channels, after a short optimisation on what is ``observed``."""
    anatomy, weights = source.anatomy, source.weights
    for layer in anatomy.readings:
        for share in shares:
            rank = max(1, round(share * anatomy.layers[layer].num_out))
            first = first_projections("best", anatomy, weights, {layer: rank}, observed, seed=0)
            student = Projected(source.network, anatomy, weights, weights, first)
            student.teacher.calibrate(observed)
            error = _learn(student, dict(observed))
            yield Point(layer, share, error, source.thinned({k: p.detach() for k, p in student.projections().items()}))


def _learn(student: Projected, observed: dict[str, Tensor]) -> float:
    adam = Adam(student.parameters(), lr=RATE)
    student.train()
    for _ in range(STEPS):
        adam.zero_grad()
        student(observed)[FEATURES].mean().backward()
        adam.step()
    with torch.no_grad():
        return student(observed)[FEATURES].mean().item()


def ranks_within_macs(source: Source, curves: Curves, part: float) -> Ranks:
    """The ranks of least error with at most this part of the multiplications.

    Every layer is left as few channels as a bound on its own error allows; the bound is what the part allows. Raises
    UserError if there is none.
    """

    def ranks(kept: float) -> Ranks:
        """For a bound that falls from the largest error (0) to the smallest (1)."""
        return {name: _rank(source, name, curve, _bound(curves, kept)) for name, curve in curves.items()}

    def left(kept: float) -> float:
        return macs(source.anatomy, source.cost, ranks(kept)) / source.cost.macs

    return thinner(source.anatomy, ranks(largest_within(part, left, f"part {part} of the multiplications")))


def _bound(curves: Curves, kept: float) -> float:
    errors = [error for curve in curves.values() for error in curve.values() if error > 0]
    low, high = np.log(min(errors) / 100), np.log(max(errors))
    return float(np.exp(high + kept * (low - high)))


def _rank(source: Source, layer: str, curve: Mapping[float, float], bound: float) -> int:
    """The fewest channels whose error, interpolated, is within the bound; a full layer has none."""
    shares = np.array([*curve, 1.0])
    errors = np.log(np.maximum(np.array([*curve.values(), 0.0]), 1e-8))
    errors = np.minimum.accumulate(errors)  # more channels are never worse
    share = float(np.interp(-np.log(bound), -errors, shares))
    return max(1, round(share * source.anatomy.layers[layer].num_out))
