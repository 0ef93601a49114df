"""The workers of a run, seen from one of them. Without torch.distributed there is one."""

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def mean_over_workers(values: Tensor) -> Tensor:
    """The mean of a tensor over all workers, the same on each of them (not differentiable)."""
    if world_size() == 1:
        return values.detach()
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def from_first_worker(number: int, device: torch.device) -> int:
    """The first worker's number, on every worker."""
    if world_size() == 1:
        return int(number)
    sent = torch.tensor([number], dtype=torch.int64, device=device)
    dist.broadcast(sent, src=0)
    return int(sent)


class _SumOverWorkers(torch.autograd.Function):
    """All-reduce whose gradient is all-reduced too: every worker's loss depends on every worker's input."""

    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return _SumOverWorkers.apply(gradient.contiguous())


def sum_over_workers(values: Tensor) -> Tensor:
    """The sum of a tensor over all workers, differentiable any number of times."""
    return _SumOverWorkers.apply(values) if world_size() > 1 else values
