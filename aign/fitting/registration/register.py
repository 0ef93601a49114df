"""Registration from end to end: features, matches, motion."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from aign.data.pointclouds import extent
from aign.errors import UserError
from aign.fitting.registration.matches import Matches, find_matches
from aign.fitting.registration.rigid import EVERY, ITERATIONS, align
from aign.losses.schedules import Fixed, Geometric, Gnc, Schedule, check_scale

FGR_FIRST_SCALE = 1 / 2
FGR_LAST_SCALE = math.sqrt(0.025) / 2
"""Of FGR, in radii of the larger cloud: its mu goes from 1 to 0.025 squared radii, and its loss
mu r^2 / (mu + r^2) is rho with alpha = -2 and c = sqrt(mu) / 2."""
RADIUS = 0.3
"""How far features look, in radii of the larger cloud."""


@dataclass(frozen=True)
class Registration:
    """How a registration came about."""

    num_candidates: int
    """Points that look alike in both clouds."""
    num_matches: int
    """Those used, in triples that agree in their distances; a point may be counted in several."""
    trusted: float
    """Share of the matches that count at least half as much as a perfect one in the end."""
    losses: list[float]
    """Mean loss at the start of each iteration, each under its own alpha and scale."""


def register(
    source: Float[Tensor, "points 3"],
    target: Float[Tensor, "others 3"],
    *,
    alpha: Schedule | float | None = None,
    scale: Schedule | float | None = None,
    radius: float | None = None,
    iterations: int = ITERATIONS,
    every: int = EVERY,
    seed: int = 0,
) -> tuple[Float[Tensor, "4 4"], Registration]:
    """target_from_source, and how it was found, from any relative pose; the clouds share at least part of a surface.

    alpha: shape of the loss, or its schedule over the iterations; annealed as in the paper (``gnc``) unless given.
    scale: where the loss stops being quadratic, in the clouds' unit, or its schedule; :func:`terminal_scale` unless
    given. radius: how far around a point its features look, in the clouds' unit. alpha and scale move on after
    ``every`` iterations. Give one to ten thousand points a cloud: with fewer the features of two views differ, and
    with more the comparison of all with all takes long. Computed in float64 on the CPU; the result has the type and
    device of ``source``.

    Raises UserError for points that are not finite, for clouds too small or of no size, for a scale or radius that is
    not positive, and if nothing in the clouds matches.
    """
    clouds = [_checked(name, points) for name, points in (("source", source), ("target", target))]
    a = as_schedule(Gnc() if alpha is None else alpha)
    c = as_schedule(terminal_scale(*clouds) if scale is None else scale)
    check_scale(c)
    matches = match(*clouds, radius=radius, seed=seed)
    motion = align(matches.source, matches.target, a, c, iterations=iterations, every=every)
    facts = Registration(
        num_candidates=matches.num_candidates,
        num_matches=len(matches.source),
        trusted=(motion.trust >= 0.5).double().mean().item(),
        losses=motion.losses,
    )
    return motion.target_from_source.to(source), facts


def match(
    source: Float[Tensor, "points 3"], target: Float[Tensor, "others 3"], *, radius: float | None = None, seed: int = 0
) -> Matches:
    """Matches of two clouds; features look as far as ``radius``, a share of the clouds' size unless given."""
    radius = RADIUS * _radius(source, target) if radius is None else radius
    if not 0 < radius < math.inf:
        raise UserError(f"radius = {radius:g}", "features look at least a little way", "give a length above 0")
    return find_matches(source, target, radius=radius, seed=seed)


def terminal_scale(source: Float[Tensor, "points 3"], target: Float[Tensor, "others 3"]) -> float:
    """The scale at which FGR ends, in the clouds' unit: 4 % of the larger one's diameter."""
    return FGR_LAST_SCALE * _radius(source, target)


def annealed_scale(source: Float[Tensor, "points 3"], target: Float[Tensor, "others 3"]) -> Schedule:
    """FGR's graduated non-convexity: from a scale at which all counts, in equal ratios, to the terminal one."""
    radius = _radius(source, target)
    return Geometric(FGR_FIRST_SCALE * radius, FGR_LAST_SCALE * radius)


def as_schedule(value: Schedule | float) -> Schedule:
    """A number is itself all the time."""
    return value if isinstance(value, Schedule) else Fixed(float(value))


def _radius(source: Tensor, target: Tensor) -> float:
    return max(extent(source), extent(target)) / 2


def _checked(name: str, points: Tensor) -> Tensor:
    points = points.detach().to("cpu", torch.float64)
    if len(points) < 3:
        raise UserError(f"{name} cloud", f"has {len(points)} points", "registration needs at least three")
    bad = (~points.isfinite()).any(1).nonzero()[:, 0]
    if len(bad):
        raise UserError(f"{name} cloud", f"point {int(bad[0])} is NaN or infinite", "drop or repair such points")
    if not extent(points) > 0:
        raise UserError(f"{name} cloud", "all points are the same", "give a cloud with some extent")
    return points
