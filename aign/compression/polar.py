"""Orthonormal matrices that are learnt without constraint (Cascaded Projection, section 3.4; CVPR 2019).

A proxy X of any entries stands for the orthonormal matrix nearest to it, the factor P of its polar decomposition. The
gradient printed in the paper (Eq. 13) follows V alone and is not that of P = U V^T; this one is exact.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

SMALLEST = 1e-4
"""Singular values count as no smaller in the gradient."""


class _Polar(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, proxy: Tensor) -> Tensor:
        # in double precision, so that P is orthonormal to the last digit of the weights it is multiplied with
        u, sizes, vt = torch.linalg.svd(proxy.double(), full_matrices=False)
        ctx.save_for_backward(u, sizes, vt)
        return (u @ vt).to(proxy.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """U S V^T + (I - U U^T) G V Sigma^-1 V^T with S_ij = (A_ij - A_ji) / (sigma_i + sigma_j), A = U^T G V."""
        u, sizes, vt = ctx.saved_tensors
        gradient = gradients[0].double()
        sizes = sizes.clamp(min=SMALLEST)
        turned = gradient @ vt.mT
        along = u.mT @ turned
        within = (along - along.mT) / (sizes[:, None] + sizes)
        outside = (turned - u @ along) / sizes
        return ((u @ within + outside) @ vt).to(gradients[0].dtype)


def polar(proxy: Float[Tensor, "channels rank"]) -> Float[Tensor, "channels rank"]:
    """The matrix P with P^T P = I that is nearest to ``proxy``; ``rank`` is at most ``channels``.

    Its gradient is finite wherever the columns are independent, equal singular values included.
    """
    with torch.autocast(proxy.device.type, enabled=False):
        return _Polar.apply(proxy)


class Proxy(nn.Module):
    """A learnt orthonormal matrix, which a call gives; it begins as ``start``."""

    def __init__(self, start: Float[Tensor, "channels rank"]) -> None:
        super().__init__()
        self.matrix = nn.Parameter(start.clone())

    def forward(self) -> Float[Tensor, "channels rank"]:
        return polar(self.matrix)
