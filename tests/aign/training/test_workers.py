"""Workers, where there is one: means and sums are the tensor itself."""

import torch

from aign.training.workers import mean_over_workers, rank, sum_over_workers, world_size


def test_without_torch_distributed_there_is_one_worker():
    values = torch.ones(3, requires_grad=True)
    assert (rank(), world_size()) == (0, 1)
    assert torch.equal(mean_over_workers(values), values)
    assert not mean_over_workers(values).requires_grad
    assert sum_over_workers(values) is values
