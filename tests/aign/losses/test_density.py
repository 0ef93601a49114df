"""The distribution: its area, its members, its likelihood's slopes, its samples."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from aign.losses.density import Density, cauchy_nll, normal_nll, student_t_nll
from aign.losses.robust import rho

POINTS = np.linspace(-6, 6, 25)
EVERY_ALPHA = pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0, 1.9, 2.0, 3.0, math.inf])


def points():
    return torch.from_numpy(POINTS).to(torch.get_default_device())


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 3.0, math.inf])
def test_area_is_one(alpha):
    x = 0.7 * torch.linspace(-60, 60, 40_001, dtype=torch.float64).pow(3)
    density = (-Density().nll(x, alpha, 0.7)).exp()
    assert math.isclose(torch.trapezoid(density, x), 1, rel_tol=2e-4 if alpha < 1 else 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cauchy_and_normal_are_members(dtype):
    x, density = points().to(dtype), Density()
    normal, cauchy = stats.norm(scale=0.7), stats.cauchy(scale=0.7 * math.sqrt(2))
    for alpha, member, other in ((2.0, normal_nll, normal), (0.0, cauchy_nll, cauchy)):
        expected = torch.from_numpy(-other.logpdf(POINTS)).to(x)
        torch.testing.assert_close(member(x, 0.7), expected)
        torch.testing.assert_close(member(x, torch.tensor([0.7], dtype=dtype)), expected)
        torch.testing.assert_close(density.nll(x, alpha, 0.7), expected, atol=2e-6, rtol=1e-6)
        torch.testing.assert_close(
            density.nll(x, torch.tensor([alpha], dtype=dtype), 0.7), expected, atol=2e-6, rtol=1e-6
        )


@pytest.mark.parametrize("degrees", [0.5, 1.0, 3.0, 39.0, 41.0, 1e4, 1e8])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-10)])
def test_student_t(degrees, dtype, tolerance):
    expected = torch.from_numpy(-stats.t(degrees, scale=0.7).logpdf(POINTS)).to(torch.get_default_device(), dtype)
    loss = student_t_nll(points().to(dtype), torch.tensor([degrees], dtype=dtype), 0.7)
    tolerance = max(tolerance, 1e-8 if degrees > 1e4 else 0)  # scipy's own
    torch.testing.assert_close(loss, expected, atol=tolerance, rtol=tolerance)


@EVERY_ALPHA
def test_likelihood_is_a_shifted_loss(alpha):
    x = points() / 3  # beyond, the loss for alpha = inf leaves no digits for the shift
    shift = Density().nll(x, alpha, 0.7) - rho(x, alpha, 0.7)
    torch.testing.assert_close(shift, shift[:1].expand_as(shift))
    assert Density().nll(points(), torch.tensor(-0.5), 0.7).isinf().all()  # no such density


def test_likelihood_slopes():
    x = points()[::3].clone().requires_grad_()
    alpha = torch.tensor([[0.1], [1.0], [1.9], [2.4]], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, a, c: Density().nll(x, a, c), (x, alpha, scale), rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 1.9, 1.999, 2.5])
def test_the_right_alpha_and_scale_are_where_the_likelihood_is_best(alpha, rng):
    """The mean slopes of the likelihood over its own distribution are zero."""
    density, count = Density(), 400_000
    shape, scale = torch.tensor([alpha], requires_grad=True), torch.tensor([0.7], requires_grad=True)
    samples = density.sample((count,), alpha, 0.7, rng)
    slopes = torch.autograd.grad(density.nll(samples, shape, scale).mean(), (shape, scale))
    assert abs(slopes[0].item()) < 0.02
    assert abs(slopes[1].item()) < 0.02


@EVERY_ALPHA
def test_samples_have_the_quantiles(alpha, rng):
    """Kolmogorov-Smirnov against the integrated density."""
    samples = Density().sample((100_000,), alpha, 0.7, rng).double()
    grid = torch.linspace(-40, 40, 40_001, dtype=torch.float64).pow(3) * 0.7 / 10
    density = (-Density().nll(grid, alpha, 0.7)).exp().cpu().numpy()
    areas = integrate.cumulative_simpson(density, x=grid.cpu().numpy(), initial=0)
    areas += (1 - areas[-1]) / 2  # both tails alike
    assert stats.kstest(samples.cpu().numpy(), lambda x: np.interp(x, grid.cpu().numpy(), areas)).pvalue > 1e-3
    for part in (0.05, 0.25, 0.5, 0.75, 0.95):
        below = (samples <= np.interp(part, areas, grid.cpu().numpy())).double().mean().item()
        assert abs(below - part) < 4 * math.sqrt(part * (1 - part) / len(samples))


def test_samples_broadcast_repeat_and_refuse(rng):
    density = Density()
    alpha, scale = torch.tensor([0.0, 2.0]), torch.tensor([[1.0], [100.0]], dtype=torch.float64)
    first = density.sample((1000, 2, 2), alpha, scale, torch.Generator().manual_seed(5))
    assert first.shape == (1000, 2, 2)
    assert first.dtype == torch.float64
    assert torch.equal(first, density.sample((1000, 2, 2), alpha, scale, torch.Generator().manual_seed(5)))
    assert 90 < first[:, 1, 1].std() < 110
    with pytest.raises(ValueError, match="alpha >= 0"):
        density.sample((2,), torch.tensor([1.0, -1.0]))


def test_the_table_follows_devices_but_not_types_and_is_not_saved():
    density = Density()
    before = density.log_partition(torch.tensor([0.5]))
    assert torch.equal(density.half().log_partition(torch.tensor([0.5])), before)
    assert torch.equal(density.double().bfloat16().log_partition(torch.tensor([0.5])), before)
    assert not density.state_dict()
    assert density.to("meta").table.device.type == "meta"
