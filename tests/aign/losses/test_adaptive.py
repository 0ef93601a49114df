"""The adaptive loss: what it learns from data of a known distribution, what it equals, what it refuses."""

import math

import pytest
import torch

from aign.errors import UserError
from aign.losses.adaptive import AdaptiveLoss
from aign.losses.density import Density
from aign.losses.representations import parse_representation
from aign.losses.robust import rho
from aign.losses.schedules import AdaptiveAlpha, AdaptiveScale, Fixed, Gnc, Linear


@pytest.mark.parametrize(("each", "shape"), [("tensor", (1,)), ("channel", (3, 1, 1)), ("coefficient", (3, 4, 5))])
def test_shapes_and_starts(each, shape, rng):
    loss = AdaptiveLoss((3, 4, 5), each=each, alpha=AdaptiveAlpha(0, 3, 1), scale=AdaptiveScale(0.01))
    assert [p.shape for p in loss.parameters()] == [shape, shape]
    torch.testing.assert_close(loss.alpha(), torch.ones(shape))
    torch.testing.assert_close(loss.scale(), torch.full(shape, 0.01))
    residual = torch.randn(2, 3, 4, 5, generator=rng)
    torch.testing.assert_close(loss(residual), Density().nll(residual, 1.0, 0.01), atol=1e-4, rtol=1e-5)


def test_no_parameter_is_a_scalar():
    loss = AdaptiveLoss(alpha=AdaptiveAlpha(0, 2), scale=AdaptiveScale(1))
    assert all(p.shape == (1,) for p in loss.parameters())
    assert loss(torch.zeros(7)).shape == (7,)


def test_alpha_and_scale_stay_inside():
    loss = AdaptiveLoss(alpha=AdaptiveAlpha(0.5, 1.5), scale=AdaptiveScale(1), scale_floor=0.1)
    for latent, alpha, scale in ((-100.0, 0.5, 0.1), (100.0, 1.5, 0.1 + 0.9 * (100 + math.log(math.e - 1)))):
        with torch.no_grad():
            loss.latent_alpha.fill_(latent)
            loss.latent_scale.fill_(latent)
        assert math.isclose(loss.alpha(), alpha, rel_tol=1e-5)
        assert math.isclose(loss.scale(), scale, rel_tol=1e-5)
        loss(torch.tensor([0.0, 1.0, 1e6])).sum().backward()
        assert all(p.grad.isfinite().all() for p in loss.parameters())


def test_learns_the_distribution_of_each_channel(rng):
    """Maximum likelihood finds alpha and scale that samples were drawn with."""
    alpha, scale = torch.tensor([[0.3], [1.0], [1.6]]), torch.tensor([[0.5], [1.0], [2.0]])
    samples = Density().sample((1000, 3, 5), alpha, scale, rng)
    loss = AdaptiveLoss((3, 5), each="channel", alpha=AdaptiveAlpha(0, 3), scale=AdaptiveScale(1))
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.3)
    for _ in range(100):
        optimizer.zero_grad()
        loss(samples).mean().backward()
        optimizer.step()
    torch.testing.assert_close(loss.alpha().detach(), alpha, atol=0.2, rtol=0)
    torch.testing.assert_close(loss.scale().detach(), scale, atol=0, rtol=0.15)


def test_scheduled_alpha_and_scale_follow_the_run(rng):
    residual = torch.randn(4, 3, generator=rng)
    loss = AdaptiveLoss((3,), alpha=Linear(2, 0), scale=Linear(4, 1))
    assert not list(loss.parameters())
    assert torch.equal(loss(residual, 0.5), rho(residual, 1.0, 2.5))
    assert torch.equal(loss(residual, 1.0), rho(residual, 0.0, 1.0))
    bounded = AdaptiveLoss((3,), alpha=Gnc(), scale=Fixed(2), times_scale=True)
    assert torch.equal(bounded(residual, 0.0), 2 * rho(residual, 2.0, 2.0))


def test_likelihood_of_what_is_fixed(rng):
    residual = torch.randn(4, 3, generator=rng)
    loss = AdaptiveLoss((3,), alpha=Fixed(1), scale=Fixed(2), likelihood=True)
    torch.testing.assert_close(loss(residual), Density().nll(residual, 1.0, 2.0))


def test_a_run_saves_only_what_it_learnt():
    loss = AdaptiveLoss((3,), scale=AdaptiveScale(1))
    assert set(loss.state_dict()) == {"latent_alpha", "latent_scale"}


def test_in_halves_it_still_computes_in_float32(rng):
    loss = AdaptiveLoss((3,), each="coefficient").bfloat16()
    value = loss(torch.randn(2, 3, generator=rng).bfloat16())
    assert value.dtype == torch.float32
    value.sum().backward()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"likelihood": False}, "alpha = adaptive:0:2: without the likelihood"),
        ({"alpha": Fixed(1), "scale": AdaptiveScale(1), "likelihood": False}, "only grows"),
        ({"alpha": Fixed(1), "scale": AdaptiveScale(1), "times_scale": True}, "no likelihood of it"),
        ({"alpha": Fixed(-1), "likelihood": True}, "negative alpha"),
        ({"alpha": Linear(2, -2), "scale": AdaptiveScale(1)}, "negative alpha"),
        ({"scale": AdaptiveScale(1e-6)}, "floor"),
        ({"scale": AdaptiveScale(1), "scale_floor": 0.0}, "floor"),
        ({"scale": Fixed(0)}, "positive"),
        ({"size": (3,), "alpha": Fixed(1), "each": "channel"}, "nothing is learnt"),
        ({"each": "coefficient"}, "single numbers"),
    ],
)
def test_refusals(options, says):
    with pytest.raises(UserError, match=says) as refusal:
        AdaptiveLoss(**options)
    assert refusal.value.remedy


def test_a_residual_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(4,\).*\(3,\)"):
        AdaptiveLoss((3,))(torch.zeros(2, 4))


def train_a_step(loss, representation, device):
    """Everything a training step does with a loss, on data that is made on the device."""
    residual = torch.ones(2, *loss.size, device=device).requires_grad_()
    loss.to(device)(representation(residual), 0.3).mean().backward()
    return residual.grad


LOSSES = {
    "learnt": {"each": "coefficient", "scale": AdaptiveScale(0.1)},
    "annealed": {"alpha": Linear(2, 0)},
    "fixed": {"alpha": Fixed(1), "scale": Fixed(2), "times_scale": True},
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("spelling", ["yuv+wavelet:2", "yuv+dct"])
def test_no_value_is_looked_at(name, spelling):
    """Tensors on the meta device have no values: whatever looks at one fails."""
    train_a_step(AdaptiveLoss((3, 6, 5), **LOSSES[name]), parse_representation(spelling), "meta")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("spelling", ["yuv+wavelet:2", "yuv+dct"])
def test_the_host_does_not_wait_for_the_device(name, spelling):
    loss, representation = AdaptiveLoss((3, 6, 5), **LOSSES[name]), parse_representation(spelling)
    expected = train_a_step(loss, representation, "cpu")
    train_a_step(loss, representation, "cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = train_a_step(loss, representation, "cuda")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(found.cpu(), expected)
