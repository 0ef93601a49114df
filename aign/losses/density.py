"""The distribution whose negative log-likelihood is the general robust loss (Barron, CVPR 2019, section 2).

It lies between Cauchy (alpha = 0) and normal (alpha = 2) and beyond; Student's t lies between the same two on another
way. All four stand here for comparison.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aign.losses.partition import log_partition, read_table
from aign.losses.robust import Floats, rho


class Density(nn.Module):
    """p(x | alpha, c) = exp(-rho(x, alpha, c)) / (c Z(alpha)) of Eq. 16, for alpha >= 0, also inf.

    A module without parameters, so that its table of log Z follows a model to its device. The table is no part of
    checkpoints and stays float32 whatever the model is cast to.
    """

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", read_table().to(torch.get_default_device(), copy=True), persistent=False)

    def log_partition(self, alpha: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """log Z(alpha) of Eq. 17: see :func:`aign.losses.partition.log_partition`."""
        return log_partition(alpha, self.table)

    def nll(self, x: Float[Tensor, "*#shape"], alpha: Floats, scale: Floats = 1.0) -> Float[Tensor, "*_"]:
        """-log p(x | alpha, c) = rho(x, alpha, c) + log c + log Z(alpha), elementwise; may be negative.

        x and scale c in the same unit, which the density is per; all three broadcast. Infinite for alpha < 0, where
        there is no such density. Types and limits are those of :func:`aign.losses.robust.rho`.
        """
        loss = rho(x, alpha, scale)
        if not isinstance(alpha, Tensor):
            alpha = loss.new_full((), alpha)
        log_scale = scale.to(loss.dtype).log() if isinstance(scale, Tensor) else math.log(scale)
        return loss + (log_scale + self.log_partition(alpha)).to(loss.dtype)

    @torch.no_grad()
    def sample(
        self,
        size: tuple[int, ...],
        alpha: Floats,
        scale: Floats = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Samples of p(x | alpha, c) in a tensor of that size, to which alpha and scale broadcast; in scale's unit.

        Algorithm 1: Cauchy proposals, of which 45 % (alpha = inf) to 100 % (alpha = 0) are accepted; those that are
        not are drawn again, so the host waits for the device. Proposals are float64, for the tails. Raises ValueError
        for an alpha below 0.
        """
        device = self.table.device
        alphas = torch.as_tensor(alpha, dtype=torch.float64, device=device).expand(size).flatten()
        if not (alphas >= 0).all():
            raise ValueError("the distribution exists for alpha >= 0 only")
        samples = torch.empty_like(alphas)
        missing = torch.arange(len(alphas), device=device)
        while len(missing):
            angle, chance = torch.rand(2, len(missing), generator=generator, dtype=torch.float64, device=device)
            x = math.sqrt(2) * (math.pi * (angle - 0.5)).tan()
            accepted = chance < (rho(x, 0.0) - rho(x, alphas[missing])).exp()
            samples[missing[accepted]] = x[accepted]
            missing = missing[~accepted]
        dtype = torch.promote_types(scale.dtype, torch.float32) if isinstance(scale, Tensor) else torch.float32
        return (samples.view(size) * scale).to(dtype)

    def _apply(self, fn: Any, recurse: bool = True) -> "Density":
        super()._apply(fn, recurse)
        if self.table.dtype != torch.float32:  # .half() would take the digits of log Z
            self.table = read_table().to(self.table.device)
        return self


def normal_nll(x: Float[Tensor, "*#shape"], scale: Floats = 1.0) -> Float[Tensor, "*_"]:
    """-log of the normal density with standard deviation ``scale``: the general one at alpha = 2."""
    return rho(x, 2.0, scale) + _log(scale) + 0.5 * math.log(2 * math.pi)


def cauchy_nll(x: Float[Tensor, "*#shape"], scale: Floats = 1.0) -> Float[Tensor, "*_"]:
    """-log of the Cauchy density with half width sqrt(2) ``scale``: the general one at alpha = 0."""
    return rho(x, 0.0, scale) + _log(scale) + math.log(math.pi * math.sqrt(2))


def student_t_nll(
    x: Float[Tensor, "*#shape"], degrees: Float[Tensor, "*#shape"], scale: Floats = 1.0
) -> Float[Tensor, "*_"]:
    """-log of Student's t density with ``degrees`` of freedom > 0: Cauchy at 1, normal towards infinity.

    ``scale`` is the t distribution's own, in x's unit: the half width at 1, the standard deviation at infinity.
    """
    dtype = torch.promote_types(torch.promote_types(x.dtype, degrees.dtype), torch.float32)
    half, ratio = 0.5 * degrees.to(dtype), x.to(dtype) / scale
    bowl = (half + 0.5) * torch.log1p(ratio.square() / (2 * half))
    return bowl - _log_gamma_step(half) + 0.5 * (2 * math.pi * half).log() + _log(scale)


def _log_gamma_step(half: Tensor) -> Tensor:
    """log Gamma(h + 1/2) - log Gamma(h): by series where both are large, of which the difference would keep nothing."""
    large = half > 20
    few, many = torch.where(large, 20.0, half), torch.where(large, half, 20.0)
    u = 1 / many
    series = 0.5 * many.log() + u * (-1 / 8 + u**2 * (1 / 192 + u**2 * (-1 / 640 + u**2 * (17 / 14336))))
    return torch.where(large, series, torch.lgamma(few + 0.5) - torch.lgamma(few))


def _log(scale: Floats) -> Tensor | float:
    return (
        scale.to(torch.promote_types(scale.dtype, torch.float32)).log()
        if isinstance(scale, Tensor)
        else math.log(scale)
    )
