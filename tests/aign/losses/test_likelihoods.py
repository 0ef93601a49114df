"""Distributions of residuals: what each is at the start, what it learns, how fast, and its limits."""

import math

import pytest
import torch

from aign.losses.adaptive import AdaptiveLoss
from aign.losses.density import Density, cauchy_nll, normal_nll, student_t_nll
from aign.losses.likelihoods import StudentTLoss, make_likelihood
from aign.losses.schedules import AdaptiveAlpha, AdaptiveScale

SIZE = (3, 4, 5)
AT_THE_START = {
    "normal": lambda x: normal_nll(x, 0.1),
    "cauchy": lambda x: cauchy_nll(x, 0.1),
    "student-t": lambda x: student_t_nll(x, torch.ones(()), 0.1),
    "general": lambda x: Density().nll(x, 1.0, 0.1),
}


@pytest.fixture
def residual(rng):
    return torch.randn(6, *SIZE, generator=rng)


@pytest.mark.parametrize("distribution", AT_THE_START)
def test_every_coefficient_has_parameters_and_starts_as_said(distribution, residual):
    likelihood = make_likelihood(distribution, SIZE, scale=0.1)
    shaped = distribution in ("student-t", "general")
    assert [p.shape for p in likelihood.parameters()] == [SIZE] * (1 + shaped)
    torch.testing.assert_close(likelihood(residual), AT_THE_START[distribution](residual), atol=1e-5, rtol=1e-5)
    assert set(likelihood.latest) == {"scale"} | {"student-t": {"degrees"}, "general": {"alpha"}}.get(
        distribution, set()
    )
    assert all(values.shape == SIZE and not values.requires_grad for values in likelihood.latest.values())
    assert likelihood.changing["scale"] == pytest.approx(0.1)


@pytest.mark.parametrize("distribution", AT_THE_START)
def test_residuals_of_another_size_are_refused(distribution, residual):
    with pytest.raises(ValueError, match="made for"):
        make_likelihood(distribution, SIZE, scale=0.1)(residual[..., 1:])


def test_student_t_learns_the_distribution_of_each_coefficient():
    torch.manual_seed(0)
    degrees, scale = torch.tensor([1.0, 3.0, 8.0]), torch.tensor([0.02, 0.1, 0.5])
    samples = scale * torch.distributions.StudentT(degrees).sample((20_000,))
    loss = StudentTLoss((3,), scale=AdaptiveScale(0.1))
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        loss(samples).mean().backward()
        optimizer.step()
    torch.testing.assert_close(loss.degrees().detach(), degrees, atol=0, rtol=0.25)
    torch.testing.assert_close(loss.scale().detach(), scale, atol=0, rtol=0.1)


@pytest.mark.parametrize("latent", [-1e6, 1e6])
def test_student_t_stays_finite(latent, residual):
    loss = StudentTLoss(SIZE, scale=AdaptiveScale(0.1), scale_floor=1e-8)
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.fill_(latent)
    loss(residual).sum().backward()
    assert math.exp(-8.01) < loss.degrees().min() <= loss.degrees().max() < math.exp(8.01)
    assert loss.scale().min() >= 1e-8
    assert loss(residual).isfinite().all()
    assert all(p.grad.isfinite().all() for p in loss.parameters())


def test_alpha_and_scale_begin_where_they_are_told_to():
    loss = AdaptiveLoss(SIZE, each="coefficient", alpha=AdaptiveAlpha(0, 3, 1), scale=AdaptiveScale(0.01))
    torch.testing.assert_close(loss.alpha(), torch.ones(SIZE))
    torch.testing.assert_close(loss.scale(), torch.full(SIZE, 0.01))
