"""Memories: true samples of factors, unpaired with any input, with a declared bias."""

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from aign.data.streams import Plan, Sample, rows
from aign.device import to_device
from aign.errors import UserError

MIN_SAMPLES = 16


class Memory:
    """A collection of remembered samples. Bias the memories, and the imagination is biased.

    ``samples`` are named tensors with one row a memory; ``bias`` says in words which selection of the world they
    are; ``weights`` (optional, one a memory) says how often each is remembered. ``augment`` gives a drawn memory what
    it lacks to be seen as inferred factors are (a random camera, say): it gets the rows and random numbers (batch,
    ``num_random``) in [0, 1).

    Raises UserError if fewer than ``MIN_SAMPLES`` memories are left: a discriminator would learn them by heart.
    """

    def __init__(
        self,
        samples: dict[str, Tensor],
        *,
        bias: str,
        weights: Tensor | None = None,
        augment: Callable[[dict[str, Tensor], Tensor], dict[str, Tensor]] | None = None,
        num_random: int = 0,
    ) -> None:
        self.samples, self.bias, self.augment, self.num_random = samples, bias, augment, num_random
        if len(self) < MIN_SAMPLES:
            raise UserError(bias, f"selects {len(self)} memories, at least {MIN_SAMPLES} are needed", "widen the bias")
        share = torch.ones(len(self)) if weights is None else weights
        self._cumulative = (share.double().cumsum(0) / share.double().sum()).numpy()

    def to(self, device: torch.device | str) -> "Memory":
        """The same memories on a device."""
        moved = copy.copy(self)
        moved.samples = to_device(self.samples, torch.device(device))
        return moved

    def __len__(self) -> int:
        return rows(self.samples)

    def plan(self, size: int, rng: np.random.Generator) -> Plan:
        index = np.searchsorted(self._cumulative, rng.random(size), side="right").clip(max=len(self) - 1)
        return {
            "index": torch.from_numpy(index),
            "random": torch.from_numpy(rng.random((size, self.num_random), dtype=np.float32)),
        }

    def load(self, plan: Plan) -> Sample:
        plan = to_device(plan, next(iter(self.samples.values())).device)
        drawn = {name: table[plan["index"]] for name, table in self.samples.items()}
        return {"factors": self.augment(drawn, plan["random"]) if self.augment else drawn}


def balanced(groups: Tensor) -> Tensor:
    """Weights under which every group (int64 label a memory) is remembered equally often."""
    return groups.bincount()[groups].double().reciprocal()
