"""The general robust loss of Barron (CVPR 2019)."""

import torch
from torch import Tensor


def rho(residual: Tensor, alpha: float, scale: float) -> Tensor:
    """rho(x, alpha, c), Eq. 8: 2 is L2, 1 Charbonnier, 0 Cauchy, -2 Geman-McClure, -inf Welsch.

    ``scale`` c is where the loss stops being quadratic, in the residual's units. Elementwise; float32 or better.
    """
    squared = (residual / scale).square()
    if alpha == 2:
        return 0.5 * squared
    if alpha == 0:
        return torch.log1p(0.5 * squared)
    if alpha == float("-inf"):
        return -torch.expm1(-0.5 * squared)
    if alpha == float("inf"):
        return torch.expm1((0.5 * squared).clamp(max=87.5))  # the largest exponent that float32 can hold
    bend = abs(alpha - 2)
    # expm1 and log1p keep the digits that pow(...) - 1 loses near a zero residual and near alpha = 0
    return (bend / alpha) * torch.expm1(0.5 * alpha * torch.log1p(squared / bend))
