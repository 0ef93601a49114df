"""Which point of one cloud is which of the other: section 3.1 of fast global registration (Zhou, Park and Koltun, ECCV
2016)."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aign.errors import UserError
from aign.fitting.registration.features import fpfh

TRIALS_PER_MATCH = 100
BLOCK = 1024
"""Rows of the table of distances between features that are made at once."""


class Matches(NamedTuple):
    """Points that look alike in both clouds, row by row. Many are wrong."""

    source: Float[Tensor, "matches 3"]
    target: Float[Tensor, "matches 3"]
    num_candidates: int
    """Mutually nearest in looks, before their distances were compared."""


def find_matches(
    source: Float[Tensor, "points 3"],
    target: Float[Tensor, "others 3"],
    *,
    radius: float,
    ratio: float = 0.95,
    most_tuples: int = 1000,
    seed: int = 0,
) -> Matches:
    """Points whose features (FPFH within ``radius``) are each other's nearest, and whose distances agree.

    Of random triples of such points, up to ``most_tuples`` are kept whose three distances in one cloud are those in
    the other within a factor of ``ratio``; so a point can come more than once. Raises UserError if there are none.
    """
    pairs = mutually_nearest(fpfh(source, radius), fpfh(target, radius))
    remedy = "give clouds that share more of their surface, or look farther around each point (radius)"
    if len(pairs) < 3:
        raise UserError("registration", f"only {len(pairs)} points look alike in both clouds", remedy)
    a, b = source[pairs[:, 0]], target[pairs[:, 1]]
    chosen = agreeing_triples(a, b, ratio, most_tuples, seed)
    if not len(chosen):
        reason = f"among {len(pairs)} points that look alike no three agree in their distances"
        raise UserError("registration", reason, remedy)
    return Matches(a[chosen], b[chosen], num_candidates=len(pairs))


def mutually_nearest(
    first: Float[Tensor, "points features"], second: Float[Tensor, "others features"]
) -> Int[Tensor, "pairs 2"]:
    """Rows that are each other's nearest."""
    forth, back = _nearest(first, second), _nearest(second, first)
    own = torch.arange(len(first))
    mutual = back[forth] == own
    return torch.stack([own[mutual], forth[mutual]], 1)


def agreeing_triples(
    a: Float[Tensor, "pairs 3"], b: Float[Tensor, "pairs 3"], ratio: float, most: int, seed: int
) -> Int[Tensor, " chosen"]:
    """Indices of up to ``most`` random triples, one after the other, whose distances agree."""
    rng = torch.Generator().manual_seed(seed)
    triples = torch.randint(len(a), (TRIALS_PER_MATCH * len(a), 3), generator=rng)
    sides, others = _sides(a[triples]), _sides(b[triples])
    agree = ((ratio * sides < others) & (ratio * others < sides)).all(1)
    return triples[agree][:most].flatten()


def _sides(corners: Float[Tensor, "triples 3 3"]) -> Float[Tensor, "triples 3"]:
    return (corners - corners.roll(1, dims=1)).norm(dim=-1)


def _nearest(features: Tensor, among: Tensor) -> Int[Tensor, " points"]:
    features, among = features.float(), among.float()
    return torch.cat([torch.cdist(block, among).argmin(1) for block in features.split(BLOCK)])
