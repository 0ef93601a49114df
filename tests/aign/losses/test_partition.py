"""The tabulated log partition function against closed forms, an independent quadrature, and its own source."""

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.special import kv

from aign.losses.partition import build_table, exact_log_partition, log_partition, read_table
from aign.losses.robust import rho

CLOSED = {  # Eq. 18
    0.0: math.log(math.pi * math.sqrt(2)),
    1.0: math.log(2 * math.e * kv(1, 1)),
    2.0: 0.5 * math.log(2 * math.pi),
    4.0: 0.25 + math.log(kv(0.25, 0.25)),
}


@pytest.fixture(scope="module")
def truth():
    """alpha over [0, 1000], crowded at 0 and 2, with log Z and its slope by quadrature."""
    near, far = torch.logspace(-9, 0, 150, dtype=torch.float64), torch.logspace(-9, math.log10(998), 250).double()
    alpha = torch.cat([torch.linspace(0, 2, 201).double(), near, 2 - near, 2 + far]).requires_grad_()
    values = exact_log_partition(alpha)
    (slopes,) = torch.autograd.grad(values.sum(), alpha)
    return alpha.detach(), values.detach(), slopes


@pytest.mark.parametrize("alpha", CLOSED)
def test_quadrature_against_closed_forms(alpha):
    assert math.isclose(exact_log_partition(torch.tensor([alpha]))[0], CLOSED[alpha], rel_tol=1e-11)


@pytest.mark.parametrize("alpha", [0.3, 1.7, 2.6, 10.0])
def test_quadrature_against_another(alpha):
    def density(x):
        return math.exp(-rho(torch.tensor(x, dtype=torch.float64), alpha).item())

    area = 2 * (quad(density, 0, 10)[0] + quad(density, 10, math.inf)[0])
    assert math.isclose(
        exact_log_partition(torch.tensor([alpha], dtype=torch.float64))[0], math.log(area), rel_tol=1e-7
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-7)])
def test_values(truth, dtype, tolerance):
    alpha, values, _ = truth
    rounded = alpha.to(dtype)
    expected = values if dtype == torch.float64 else exact_log_partition(rounded)
    assert (log_partition(rounded, read_table()).double() - expected).abs().max() < tolerance
    for special, value in {**CLOSED, math.inf: 0.705260254514}.items():
        assert abs(log_partition(torch.tensor(special, dtype=dtype), read_table()).item() - value) < tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_slopes(truth, dtype):
    alpha, _, slopes = truth
    rounded = alpha.to(dtype).requires_grad_()
    log_partition(rounded, read_table()).sum().backward()
    assert rounded.grad.isfinite().all()
    away = (alpha - 2).abs() >= 0.01
    error = ((rounded.grad.double() - slopes) / slopes).abs()
    assert error[away].max() < 1e-3
    if dtype == torch.float64:  # float32 rounds alpha itself
        assert error[(alpha - 2).abs() >= 1e-6].max() < 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_falls_without_jumps(dtype):
    alpha = torch.cat([torch.linspace(0, 4, 4001), torch.linspace(4, 1000, 2000)]).to(dtype)
    values = log_partition(alpha, read_table())
    assert (values.diff() <= 1e-6).all()
    assert values[:4001].diff().min() > -0.01


def test_slopes_are_finite_at_all_special_alphas():
    alpha = torch.tensor([-1.0, 0.0, 2.0, 1e30, math.inf], requires_grad=True)
    values = log_partition(alpha, read_table())
    assert values[0] == math.inf  # Z diverges
    (slopes,) = torch.autograd.grad(values, alpha, torch.ones(5))
    assert slopes.isfinite().all()
    assert slopes[2] < -1


def test_differentiable():
    alpha = torch.tensor([0.1, 0.7, 1.0, 1.9, 2.3, 7.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: log_partition(a, read_table().double()), alpha)


def test_the_table_is_what_the_code_builds():
    shipped, built = read_table(), build_table()
    assert shipped.dtype == torch.float32
    assert (shipped[:2].double().sum(0) - built[:2].double().sum(0)).abs().max() < 1e-10
    torch.testing.assert_close(shipped[2], built[2], atol=1e-9, rtol=1e-5)
