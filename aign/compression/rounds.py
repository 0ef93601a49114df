"""In which order layers are projected (Cascaded Projection, section 3.6)."""

from collections.abc import Mapping
from typing import Literal

from aign.compression.anatomy import Anatomy

Rounds = Literal["auto", "1", "2"]


def in_rounds(anatomy: Anatomy, ranks: Mapping[str, int], rounds: Rounds) -> tuple[tuple[str, ...], ...]:
    """The layers of each round: all at once, or of those that read each other every second one first.

    "auto" takes two rounds where a residual block has more than one layer to project, since learning both at once is
    unstable there.
    """
    depths: dict[str, int] = {}
    for name in anatomy.layers:
        if name in ranks:
            sources = [depth for source, depth in depths.items() if name in anatomy.readers(source)]
            depths[name] = 1 + max(sources, default=-1)
    if rounds == "1" or (rounds == "auto" and not _several_in_a_block(anatomy, depths)):
        return (tuple(depths),)
    parted = (tuple(name for name, depth in depths.items() if depth % 2 == odd) for odd in (0, 1))
    return tuple(names for names in parted if names)


def _several_in_a_block(anatomy: Anatomy, depths: Mapping[str, int]) -> bool:
    ends = (name for name in depths if any(anatomy.outlets[reader].is_sum for reader in anatomy.readers(name)))
    return any(depths[name] > 0 for name in ends)
