"""Batch norm over the global batch, so that the number of workers does not change the result."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from aign.training.workers import sum_over_workers, world_size


class GlobalBatchNorm(_BatchNorm):
    """Batch norm whose statistics are those of all workers' samples.

    One implementation for all devices: torch's SyncBatchNorm does not run on CPUs, cannot be differentiated twice and
    makes the host wait for the device in every layer.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"batch norm needs (batch, channels, ...), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(input)
        values = input.to(
            torch.promote_types(input.dtype, torch.float32)
        )  # statistics of half precision values are single precision, as in torch's own
        dims = [d for d in range(input.dim()) if d != 1]
        shape = [1, -1] + [1] * (input.dim() - 2)
        # two rounds, mean first: E[x^2] - E[x]^2 in one round loses the digits that make workers equal
        count = values.new_full((1,), values.numel() // values.shape[1])  # workers may have different ones
        total, count = sum_over_workers(torch.cat([values.sum(dims), count])).split([values.shape[1], 1])
        mean = total / count
        centred = values - mean.view(shape)
        variance = sum_over_workers(centred.square().sum(dims)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = (self.weight if self.affine else 1.0) / (variance + self.eps).sqrt()
        normalised = centred * scale.view(shape)
        return (normalised + self.bias.view(shape) if self.affine else normalised).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


@contextmanager
def without_statistics(modules: Iterable[nn.Module]) -> Iterator[None]:
    """For a while, batch norm in training mode normalises by its batch but does not remember it."""
    inside = (m for module in modules for m in module.modules())
    norms = [m for m in inside if isinstance(m, _BatchNorm) and m.num_batches_tracked is not None]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:  # running statistics stay in use, so that a graph made here is like one made outside
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def with_global_batch_norm(module: nn.Module) -> nn.Module:
    """The module with every batch norm made global, in place where it can be; parameters and buffers are kept."""
    if isinstance(module, _BatchNorm):
        return module if isinstance(module, GlobalBatchNorm) else _global_twin(module)
    for name, child in module.named_children():
        setattr(module, name, with_global_batch_norm(child))
    return module


def _global_twin(norm: _BatchNorm) -> GlobalBatchNorm:
    assert norm.running_mean is not None, "a batch norm without running statistics has none to share"
    twin = GlobalBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine).to(norm.running_mean)
    twin.load_state_dict(norm.state_dict())
    for own, before in zip(twin.parameters(), norm.parameters(), strict=True):
        own.requires_grad_(before.requires_grad)
    return twin.train(norm.training)
