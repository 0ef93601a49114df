"""Where a search for ranks begins: uniform ones, and those that follow from the curves of single layers."""

import json
import re
from fnmatch import fnmatchcase
from statistics import mean

from aign.compression.anatomy import Anatomy
from aign.compression.ranks import Ranks, uniform_within_macs
from aign.compression.sensitivity import Curves, ranks_within_macs
from aign.compression.source import Source
from aign.errors import UserError
from ray_jobs.cli.compress_options import opened
from ray_jobs.runs.warm_start import split_address
from ray_jobs.sweeps.plan import COMPRESS, Sweep
from ray_jobs.sweeps.space import Point

PARTS = (0.6, 0.45, 0.3, 0.2)
"""Of the multiplications, at which a search begins."""


def first_points(sweep: Sweep) -> list[Point]:
    """Points of a search for ranks to begin with, in the space's first spelling of them; none where it has no ranges.

    Curves are those that ``aign sensitivity`` has left in the run; without them there are uniform ranks only.
    """
    alternatives = sweep.space.options.get("ranks", [])
    if sweep.argv[:1] != (COMPRESS,) or not alternatives or not alternatives[0].ranges:
        return []
    source = opened(sweep.argv[1]).source
    curves = _curves(sweep.argv[1])
    wanted: list[Ranks] = []
    for part in PARTS:
        try:
            wanted.append(uniform_within_macs(source.anatomy, source.cost, part))
            if curves:
                wanted.append(ranks_within_macs(source, curves, part))
        except UserError:  # the network cannot be made that thin
            continue
    return [_point(sweep, source, ranks) for ranks in wanted]


def _curves(address: str) -> Curves:
    run, _ = split_address(address)
    try:
        points = json.loads(run.read("sensitivity/curves.json"))["points"]
    except FileNotFoundError:
        return {}
    layers = dict.fromkeys(point["layer"] for point in points)
    return {layer: {point["share"]: point["error"] for point in points if point["layer"] == layer} for layer in layers}


def _point(sweep: Sweep, source: Source, ranks: Ranks) -> Point:
    """The place in the space whose ranks are nearest to these."""
    spelling = sweep.space.options["ranks"][0]
    patterns = [entry.rpartition("=")[0].strip() or "*" for entry in _ranged(spelling.spelling)]
    point = sweep.space.middle_point()
    for k, (pattern, interval) in enumerate(zip(patterns, spelling.ranges, strict=True)):
        share = _share(source.anatomy, ranks, pattern)
        value = share if interval.high <= 1 else share * _channels(source.anatomy, pattern)
        point[f"ranks.0.{k}"] = interval.clipped(value)
    return point


def _ranged(spelling: str) -> list[str]:
    """Entries of a spelling of ranks that have a range."""
    return [entry for entry in re.split(r",(?![^{]*})", spelling) if "{" in entry]


def _share(anatomy: Anatomy, ranks: Ranks, pattern: str) -> float:
    layers = {name: anatomy.layers[name].num_out for name in anatomy.readings if fnmatchcase(name, pattern)}
    return mean(ranks.get(name, num) / num for name, num in layers.items())


def _channels(anatomy: Anatomy, pattern: str) -> float:
    return mean(anatomy.layers[name].num_out for name in anatomy.readings if fnmatchcase(name, pattern))
