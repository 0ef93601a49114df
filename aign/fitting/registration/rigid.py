"""The rigid motion that brings matched points together, most of which may be wrongly matched."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from aign.errors import UserError
from aign.losses.robust import rho, weight
from aign.losses.schedules import Schedule

ITERATIONS = 64
EVERY = 4
"""The paper's: the loss changes every 4 of 64 iterations."""


class Motion(NamedTuple):
    target_from_source: Float[Tensor, "4 4"]
    trust: Float[Tensor, " matches"]
    """How far each match counts in the end: c^2 weight, 1 for a perfect match; the z of the outlier process."""
    losses: list[float]
    """The mean of rho over the matches at the start of every iteration, under that iteration's alpha and scale."""


def align(
    source: Float[Tensor, "matches 3"],
    target: Float[Tensor, "matches 3"],
    alpha: Schedule,
    scale: Schedule,
    *,
    iterations: int = ITERATIONS,
    every: int = EVERY,
) -> Motion:
    """Minimise the sum of rho(|p - T q|, alpha, c) over rigid motions T, for p in ``target`` and q in ``source``.

    That is Eq. 23 with the general loss. It begins with the motion that is best for squares (alpha = 2), and then
    takes turns: z = c^2 weight(|p - T q|, alpha, c) says how far to trust a match, and T minimises the sum of
    z |p - T q|^2. The authors make one Gauss-Newton step towards that T; here it is the exact one, which has a closed
    form, so that no turn raises the loss while alpha and scale stand still. They change after ``every`` turns.

    Raises UserError if no match is within reach of the loss.
    """
    pose = weighted_motion(source, target, torch.ones(len(source), dtype=source.dtype))
    losses = []
    slots = max(1, -(-iterations // every))
    trust = source.new_ones(len(source))
    for iteration in range(iterations):
        done = (iteration // every) / max(1, slots - 1)
        a, c = alpha.at(done), scale.at(done)
        distance = distances(pose, source, target)
        losses.append(rho(distance, a, c).mean().item())
        trust = c**2 * weight(distance, a, c)
        if not 0 < trust.sum() < math.inf:
            reason = f"no match is within reach of alpha {a:g} and scale {c:g}"
            raise UserError("registration", reason, "give a larger scale or an alpha up to 2, or anneal them")
        pose = weighted_motion(source, target, trust)
    return Motion(pose, trust, losses)


def distances(
    pose: Float[Tensor, "4 4"], source: Float[Tensor, "matches 3"], target: Float[Tensor, "matches 3"]
) -> Float[Tensor, " matches"]:
    """|p - T q| of each match."""
    return (target - source @ pose[:3, :3].T - pose[:3, 3]).norm(dim=1)


def weighted_motion(
    source: Float[Tensor, "matches 3"], target: Float[Tensor, "matches 3"], weights: Float[Tensor, " matches"]
) -> Float[Tensor, "4 4"]:
    """target_from_source that minimises the weighted sum of squared distances (Umeyama, PAMI 1991, without scale)."""
    share = (weights / weights.sum())[:, None]
    middle, goal = (share * source).sum(0), (share * target).sum(0)
    u, _, vh = torch.linalg.svd((share * (target - goal)).T @ (source - middle))
    mirror = torch.ones(3, dtype=source.dtype)
    mirror[2] = torch.linalg.det(u @ vh).sign()
    pose = torch.eye(4, dtype=source.dtype)
    pose[:3, :3] = (u * mirror) @ vh
    pose[:3, 3] = goal - pose[:3, :3] @ middle
    return pose
