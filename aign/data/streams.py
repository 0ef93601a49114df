"""Streams: the batch of step t is a pure function of (seed, t), whatever the number of workers.

A stream has two halves. ``plan`` draws everything random for the *whole* batch (indices, cameras, noise: small
numbers), so that it does not depend on who asks. ``load`` turns rows of a plan into samples, so that a worker does
the real work only for its own slice.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

Plan = dict[str, Tensor]
Sample = dict[str, dict[str, Tensor]]
"""Groups of named tensors with samples along the first dimension: ``observed`` and ``truth``, or ``factors``."""


@runtime_checkable
class Stream(Protocol):
    """Where samples come from. ``plan`` must use no other source of randomness than ``rng``."""

    def plan(self, size: int, rng: np.random.Generator) -> Plan: ...

    def load(self, plan: Plan) -> Sample: ...


@dataclass(frozen=True)
class Slice:
    """A worker's share of every batch."""

    rank: int = 0
    world_size: int = 1

    def __call__(self, rows: Tensor) -> Tensor:
        share = len(rows) // self.world_size
        return rows[self.rank * share : (self.rank + 1) * share]


def random_source(seed: int, name: str, step: int) -> np.random.Generator:
    """Random numbers that belong to one name at one step of one seed."""
    return np.random.default_rng((seed, zlib.crc32(name.encode()), step))


def draw(name: str, stream: Stream, size: int, *, seed: int, step: int, share: Slice) -> Sample:
    """One worker's slice of the batch of ``size`` samples of a step."""
    plan = stream.plan(size, random_source(seed, name, step))
    return stream.load({key: share(rows) for key, rows in plan.items()})


def concatenate(samples: list[Sample]) -> Sample:
    """Samples of several streams as one; groups or names that not all of them have are an error."""
    return {
        group: {name: torch.cat([sample[group][name] for sample in samples]) for name in names}
        for group, names in samples[0].items()
    }


def rows(tensors: Mapping[str, Tensor]) -> int:
    """How many samples a group of named tensors holds."""
    return len(next(iter(tensors.values())))
