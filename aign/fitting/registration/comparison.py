"""Losses compared on the same matches: Table 3 of Barron's paper."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import NamedTuple

from aign.data.pointclouds import CloudPair
from aign.fitting.registration.matches import Matches
from aign.fitting.registration.register import annealed_scale, as_schedule, match, terminal_scale
from aign.fitting.registration.rigid import Motion, align
from aign.losses.schedules import Gnc, Schedule

SQUARES = "squares (alpha 2)"
STILL = "alpha -2, nothing annealed"
FGR = "FGR (alpha -2, scale annealed)"
SHAPE_ANNEALED = "shape-annealed gFGR"
TUNED = "gFGR* (scale annealed, best alpha)"


class Errors(NamedTuple):
    """Of one loss at one level of noise."""

    mean: float
    """Over the pairs, of the RMSE in diameters."""
    max: float
    alpha: float | None = None
    """Where it was chosen."""


def compare(
    make: Callable[[int, float], CloudPair],
    *,
    seeds: Sequence[int],
    noises: Sequence[float],
    alphas: Sequence[float],
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, list[Errors]]:
    """Errors of every loss at each level of noise, over the pairs that ``make(seed, noise)`` gives.

    All losses see the same matches and take the same number of iterations. For :data:`TUNED` the alpha with the
    lowest mean is taken at each level, in view of the truth, as the paper does.
    """
    table: dict[str, list[Errors]] = {}
    for noise in noises:
        errors: dict[str, list[float]] = {}
        for seed in seeds:
            pair = make(seed, noise)
            for name, motion in motions(pair, match(pair.source, pair.target, seed=seed), alphas).items():
                errors.setdefault(name, []).append(pair.rmse(motion.target_from_source))
        say(f"noise {noise:g}: {len(seeds)} pairs registered")
        for name, found in _summary(errors, alphas).items():
            table.setdefault(name, []).append(found)
    return table


def motions(pair: CloudPair, matches: Matches, alphas: Sequence[float] = ()) -> dict[str, Motion]:
    """What each loss makes of the matches; those with the scale annealed and an alpha of ``alphas`` by its number."""
    last, annealed = terminal_scale(pair.source, pair.target), annealed_scale(pair.source, pair.target)
    losses: dict[str, tuple[Schedule | float, Schedule | float]] = {
        SQUARES: (2.0, last),
        STILL: (-2.0, last),
        FGR: (-2.0, annealed),
        SHAPE_ANNEALED: (Gnc(), last),
        **{_tuned(alpha): (alpha, annealed) for alpha in alphas},
    }
    return {
        name: align(matches.source, matches.target, as_schedule(alpha), as_schedule(scale))
        for name, (alpha, scale) in losses.items()
    }


def _summary(errors: Mapping[str, list[float]], alphas: Sequence[float]) -> dict[str, Errors]:
    found = {name: Errors(mean(values), max(values)) for name, values in errors.items()}
    tuned = {alpha: found.pop(_tuned(alpha)) for alpha in alphas}
    if tuned:
        best = min(tuned, key=lambda alpha: (tuned[alpha].mean, math.fabs(alpha)))
        found[TUNED] = tuned[best]._replace(alpha=best)
    return found


def _tuned(alpha: float) -> str:
    return f"alpha {alpha:g}"
