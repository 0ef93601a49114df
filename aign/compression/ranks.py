"""Ranks: how many channels each layer keeps, from what a person says or from what the network may cost."""

import math
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase

from aign.compression.anatomy import Anatomy
from aign.compression.cost import Cost
from aign.compression.folding import num_inputs
from aign.errors import UserError

Ranks = dict[str, int]
"""Channels that are left, by layer."""


def parse_ranks(text: str, anatomy: Anatomy) -> Ranks:
    """From ``0.5`` (of all layers) or ``PATTERN=0.5,PATTERN=12``: parts of a layer's channels, or numbers of them.

    A layer goes by the last pattern that matches its name; one that none matches is left as it is. Raises UserError for
    a pattern that matches no layer that can be projected (and says why, if it is one layer), and for other numbers.
    """
    ranks: Ranks = {}
    for entry in text.split(","):
        pattern, equals, size = entry.strip().rpartition("=")
        matched = [name for name in anatomy.readings if fnmatchcase(name, pattern if equals else "*")]
        if not matched:
            raise UserError(f"ranks {entry.strip()!r}", _why_none(pattern, anatomy), _can_be(anatomy))
        ranks |= {name: _rank(size, anatomy.layers[name].num_out) for name in matched}
    return thinner(anatomy, ranks)


def thinner(anatomy: Anatomy, ranks: Mapping[str, int]) -> Ranks:
    """The ranks of those layers that have more channels now."""
    return {name: rank for name, rank in ranks.items() if rank < anatomy.layers[name].num_out}


def _why_none(pattern: str, anatomy: Anatomy) -> str:
    if pattern in anatomy.left:
        return f"cannot be projected: what it gives {anatomy.left[pattern]}"
    return "matches no layer that can be projected" if anatomy.readings else "no layer of this network can be projected"


def _can_be(anatomy: Anatomy) -> str:
    return f"choose among {', '.join(anatomy.readings)}" if anatomy.readings else "use another network"


def _rank(size: str, num_channels: int) -> int:
    try:
        value = float(size)
    except ValueError:
        value = math.nan
    part = 0 < value <= 1 and size.strip() != "1"
    if not part and not (value >= 1 and value % 1 == 0):
        remedy = "give 0.5 for half of the channels, or 12 for so many"
        raise UserError(f"rank {size!r}", "is neither a part of a layer's channels nor a number of them", remedy)
    return min(num_channels, math.ceil(value * num_channels) if part else int(value))


def uniform(anatomy: Anatomy, share: float) -> Ranks:
    """The same part of every layer's channels."""
    ranks = {name: max(1, math.ceil(share * anatomy.layers[name].num_out)) for name in anatomy.readings}
    return thinner(anatomy, ranks)


def macs(anatomy: Anatomy, cost: Cost, ranks: Mapping[str, int]) -> float:
    """Multiplications that are left of the whole network's ``cost``."""
    total = cost.macs
    for name, layer in anatomy.layers.items():
        outputs = ranks.get(name, layer.num_out) / layer.num_out
        inputs = num_inputs(anatomy, name, ranks) / layer.num_in
        total -= cost.layers[name].macs * (1 - outputs * inputs)
    return total


def largest_within(budget: float, spent: Callable[[float], float], said: str, steps: int = 30) -> float:
    """The largest share (0 to 1) of which no more is spent than the budget, by bisection in so many steps.

    Raises UserError if there is none.
    """
    low, high = 0.0, 1.0
    if spent(low) > budget:
        least = spent(low)
        remedy = f"give {math.ceil(least * 100) / 100:.2f} or more"
        raise UserError(said, f"the least that can be reached is {least:.3f}", remedy)
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) <= budget else (low, middle)
    return low


def uniform_within_macs(anatomy: Anatomy, cost: Cost, part: float) -> Ranks:
    """The largest uniform ranks with at most this part of the multiplications."""
    share = largest_within(part, lambda s: macs(anatomy, cost, uniform(anatomy, s)) / cost.macs, f"--flops {part}")
    return uniform(anatomy, share)
