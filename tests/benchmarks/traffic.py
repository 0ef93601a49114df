"""Bytes that a worker sends, counted where every collective passes: torch's own dispatcher.

Each collective is counted as what its ring form sends, per worker in the mean, for a payload of n bytes.
"""

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

RING = {
    "allreduce_": ("all-reduce", 2),
    "_allgather_base_": ("all-gather", 1),
    "allgather_": ("all-gather", 1),
    "allgather_into_tensor_coalesced_": ("all-gather", 1),
    "_reduce_scatter_base_": ("reduce-scatter", 1),
    "reduce_scatter_": ("reduce-scatter", 1),
    "reduce_scatter_tensor_coalesced_": ("reduce-scatter", 1),
    "allreduce_coalesced_": ("all-reduce", 2),
    "reduce_": ("reduce", 1),
    "broadcast_": ("broadcast", 1),
}
"""What each collective is called here, and how often (W - 1) / W of its whole payload is sent."""
WITHOUT_PAYLOAD = {"barrier", "monitored_barrier_"}


class Traffic(TorchDispatchMode):
    """Counts, while it is entered, the bytes and the calls of each kind of collective."""

    def __init__(self, num_workers: int) -> None:
        super().__init__()
        self.num_workers = num_workers
        self.sent: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d" and (operation := func._opname) not in WITHOUT_PAYLOAD:
            name, times = RING[operation]
            self.calls[name] += 1
            self.sent[name] += times * (self.num_workers - 1) * _payload(args) // self.num_workers
        return func(*args, **(kwargs or {}))


def _payload(args: Any) -> int:
    """The larger of what goes in and what comes out: the whole that is reduced, scattered, gathered or sent."""
    sides = [[leaf for leaf in tree_leaves(arg) if isinstance(leaf, Tensor)] for arg in args[:2]]
    return max(sum(tensor.numel() * tensor.element_size() for tensor in side) for side in sides)


def least_bytes(num_parameters: int, zero_stage: int, num_workers: int) -> float:
    """What a step cannot do without: gradients summed and handed out, and weights gathered twice at stage 3."""
    passes = 3 if zero_stage == 3 else 2
    return passes * (num_workers - 1) / num_workers * torch.float32.itemsize * num_parameters
