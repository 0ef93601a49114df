import pytest
import torch

from aign.compression.polar import Proxy, polar

SHAPES = [(8, 3), (5, 5), (6, 1)]


def matrix(rows, columns, seed=0, dtype=torch.float64):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_that_of_finite_differences(shape):
    proxy = matrix(*shape).requires_grad_()
    assert torch.autograd.gradcheck(polar, (proxy,), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_where_singular_values_coincide_it_is_finite_and_the_tangent_projection(shape):
    start = polar(matrix(*shape)).requires_grad_()
    weights = matrix(*shape, seed=1)
    (gradient,) = torch.autograd.grad((polar(start) * weights).sum(), start)
    along = start.mT @ weights
    expected = weights - start @ (0.5 * (along + along.mT))
    torch.testing.assert_close(gradient, expected, atol=1e-12, rtol=0)
    assert torch.autograd.gradcheck(polar, (start,), atol=1e-6, rtol=1e-6)


def test_nearest_of_all_orthonormal_matrices():
    proxy = matrix(6, 3)
    nearest = (proxy - polar(proxy)).square().sum()
    others = [(proxy - polar(matrix(6, 3, seed))).square().sum() for seed in range(1, 50)]
    assert nearest < min(others)


def test_orthonormal_through_training():
    proxy = Proxy(torch.eye(12, 5))
    target = matrix(12, 5, dtype=torch.float32)
    adam = torch.optim.Adam(proxy.parameters(), lr=0.1)
    for _ in range(100):
        adam.zero_grad()
        (proxy() - target).square().sum().backward()
        adam.step()
        learnt = proxy().detach().double()
        torch.testing.assert_close(learnt.mT @ learnt, torch.eye(5, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(proxy(), polar(target), atol=1e-2, rtol=0)


def test_lower_precision_around_it_changes_nothing():
    proxy = matrix(8, 3, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = polar(proxy)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, polar(proxy))
