"""Properties and limits of the general robust loss (Barron, CVPR 2019, Eq. 8-14)."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from aign.losses.robust import rho

INF = float("inf")
ALPHAS = (-INF, -32.0, -2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
EVERY_ALPHA = pytest.mark.parametrize("alpha", ALPHAS)
X = torch.arange(-50, 51, dtype=torch.float64) / 10
SCALE = 0.7
S = (X / SCALE).square()


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        (2.0, S / 2),
        (1.0, (S + 1).sqrt() - 1),
        (0.0, (S / 2 + 1).log()),
        (-2.0, 2 * S / (S + 4)),
        (-INF, 1 - (-S / 2).exp()),
    ],
)
def test_named_members(alpha, expected):
    torch.testing.assert_close(rho(X, alpha, SCALE), expected)


@pytest.mark.parametrize(("near", "limit"), [(2 - 1e-7, 2.0), (2 + 1e-7, 2.0), (1e-7, 0.0), (-1e-7, 0.0), (-1e7, -INF)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_singular_alphas_are_limits(near, limit, dtype):
    torch.testing.assert_close(rho(X.to(dtype), near, SCALE), rho(X.to(dtype), limit, SCALE), atol=1e-4, rtol=1e-5)


@EVERY_ALPHA
def test_zero_at_zero_even_and_growing(alpha):
    loss = rho(X[50:], alpha, SCALE)
    assert loss[0] == 0
    assert (loss.diff() >= 0).all()
    torch.testing.assert_close(rho(-X, alpha, SCALE), rho(X, alpha, SCALE))


@EVERY_ALPHA
def test_scaling_residual_and_scale_together_changes_nothing(alpha):
    torch.testing.assert_close(rho(3 * X, alpha, 3 * SCALE), rho(X, alpha, SCALE))


def test_grows_with_alpha():
    losses = torch.stack([rho(X, alpha, SCALE) for alpha in ALPHAS])
    assert (losses.diff(dim=0) >= -1e-12).all()


@EVERY_ALPHA
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_at_zero_is_zero_not_nan(alpha, dtype):
    x = torch.zeros(3, dtype=dtype, requires_grad=True)
    rho(x, alpha, SCALE).sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


@EVERY_ALPHA
def test_gradient(alpha):
    assert gradcheck(lambda x: rho(x, alpha, SCALE), X[::9].clone().requires_grad_())


@pytest.mark.parametrize(
    ("alpha", "bound"), [(1.0, 1.0), (0.5, 0.7598), (0.0, 0.7071), (-1.0, 0.6667), (-2.0, 0.6495), (-8.0, 0.6224)]
)
def test_influence_is_bounded_as_in_eq_14(alpha, bound):
    x = torch.linspace(0, 1000 if alpha == 1 else 20, 200_001, dtype=torch.float64, requires_grad=True)
    (SCALE * rho(SCALE * x, alpha, SCALE)).sum().backward()
    assert math.isclose((x.grad / SCALE).max(), bound, rel_tol=2e-4)


def test_small_residuals_keep_their_digits_in_float32():
    x = torch.tensor([1e-6, 1e-4])
    for alpha in (-1.0, 0.01, 1.0, 1.9):
        torch.testing.assert_close(rho(x, alpha, 1.0), x.square() / 2, atol=0, rtol=1e-4)
