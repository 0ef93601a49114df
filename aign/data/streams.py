"""Streams: the batch of step t is a pure function of (seed, t), whatever the number of workers.

A stream has two halves. ``plan`` draws everything random for the *whole* batch (indices, cameras, noise: small
numbers), so that it does not depend on who asks. ``load`` turns rows of a plan into samples, so that a worker does
the real work only for its own slice.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from aign.errors import UserError

Plan = dict[str, Tensor]
Sample = dict[str, dict[str, Tensor]]
"""Groups of named tensors with samples along the first dimension: ``observed`` and ``truth``, or ``factors``."""


@runtime_checkable
class Stream(Protocol):
    """Where samples come from. ``plan`` must use no other source of randomness than ``rng``."""

    def plan(self, size: int, rng: np.random.Generator) -> Plan: ...

    def load(self, plan: Plan) -> Sample: ...


@dataclass(frozen=True)
class WorkerSlice:
    """A worker's share of every batch, in whole portions: the same fraction of every stream, whatever its size.

    A batch may be worked off in several parts; a worker then has its share of each part, so that a part holds the same
    samples whatever the number of workers. Workers need not divide the portions evenly; one that has more of them
    counts for more (``weight``).
    """

    rank: int = 0
    world_size: int = 1
    portions: int = 1
    parts: int = 1

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """First and last portion of each part."""
        ends = [self.portions * part // self.parts for part in range(self.parts + 1)]
        own = (self.rank, self.rank + 1)
        return [
            tuple(start + (end - start) * worker // self.world_size for worker in own)  # type: ignore[misc]
            for start, end in pairwise(ends)
        ]

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many portions of each part."""
        return tuple(last - first for first, last in self.ranges)

    @property
    def weight(self) -> float:
        """Its size beside the mean one: the mean over workers of weight x worker's mean is the batch's mean."""
        return sum(self.sizes) * self.world_size / self.portions

    def __call__(self, rows: Tensor) -> Tensor:
        portion = len(rows) // self.portions
        return torch.cat([rows[first * portion : last * portion] for first, last in self.ranges])


ALONE = WorkerSlice()
"""The whole batch."""


def random_source(seed: int, name: str, step: int) -> np.random.Generator:
    """Random numbers that belong to one name at one step of one seed."""
    return np.random.default_rng((seed, zlib.crc32(name.encode()), step))


def draw(name: str, stream: Stream, size: int, *, seed: int, step: int, worker: WorkerSlice = ALONE) -> Sample:
    """One worker's slice of the batch of ``size`` samples of a step."""
    plan = stream.plan(size, random_source(seed, name, step))
    return stream.load({key: worker(rows) for key, rows in plan.items()})


def concatenate(samples: Sequence[Sample]) -> Sample:
    """Samples of several streams as one. Raises UserError for groups or names that not all of them have."""
    _check_same_names("groups", samples)
    return {group: joined([sample[group] for sample in samples]) for group in samples[0]}


def joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Named tensors of several parts as one. Raises UserError for names that not all of them have."""
    _check_same_names("names", parts)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _check_same_names(what: str, parts: Sequence[Mapping[str, Any]]) -> None:
    shared = set.intersection(*(set(part) for part in parts))
    if missing := set.union(*(set(part) for part in parts)) - shared:
        reason = "only some of the streams that are read together have them"
        raise UserError(f"{what} {', '.join(sorted(missing))}", reason, "give all streams of a stage the same names")


def rows(tensors: Mapping[str, Tensor]) -> int:
    """How many samples a group of named tensors holds."""
    return len(next(iter(tensors.values())))
