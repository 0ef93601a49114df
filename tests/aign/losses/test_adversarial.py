"""Adversarial losses: chance, directions, and the gradient penalty of a discriminator worked by hand."""

import math

import pytest
import torch

from aign.losses.adversarial import discriminator_loss, generator_loss, r1_penalty
from aign.training.precision import HALF_GRADIENT_SCALE

KINDS = pytest.mark.parametrize("kind", ["bce", "least-squares"])


def test_bce_is_log_two_at_chance():
    chance = torch.zeros(5)
    assert math.isclose(discriminator_loss(chance, chance, "bce"), math.log(2), rel_tol=1e-6)
    assert math.isclose(generator_loss(chance, "bce"), math.log(2), rel_tol=1e-6)


def test_bce_is_the_likelihood_of_the_paper(rng):
    real, fake = torch.randn(2, 6, generator=rng)
    expected = -0.5 * (real.sigmoid().log() + (1 - fake.sigmoid()).log()).mean()
    torch.testing.assert_close(discriminator_loss(real, fake, "bce"), expected)
    torch.testing.assert_close(generator_loss(fake, "bce"), -fake.sigmoid().log().mean())


def test_least_squares_by_hand():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0])
    assert discriminator_loss(real, fake, "least-squares") == 2  # (0 + 4) / 2 / 2 + (0 + 4) / 2 / 2
    assert generator_loss(fake, "least-squares") == 1  # (1 + 1) / 2


@KINDS
def test_players_pull_inferred_logits_in_opposite_directions(kind):
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    discriminator_loss(real, fake + 0.5, kind).backward()
    assert (real.grad < 0).all()  # descending raises D(M) ...
    assert (fake.grad > 0).all()  # ... and lowers D(G(x))
    fake.grad = None
    generator_loss(fake, kind).backward()
    assert (fake.grad < 0).all()


def test_bce_stays_finite_and_pulls_where_the_discriminator_is_sure():
    fake = torch.tensor([-200.0], requires_grad=True)
    loss = generator_loss(fake, "bce")
    loss.backward()
    assert loss.item() == 200
    assert fake.grad.item() == -1  # the saturating form would give 0


def test_r1_of_a_linear_discriminator_is_its_squared_weight():
    weight = torch.tensor([3.0, -4.0], requires_grad=True)
    memories = torch.randn(7, 2, requires_grad=True)
    penalty = r1_penalty(memories @ weight + 1, memories)
    assert math.isclose(penalty.item(), 25, rel_tol=1e-5)
    penalty.backward()  # d |w|^2 / dw = 2 w, so the penalty itself can be learnt from
    torch.testing.assert_close(weight.grad, torch.tensor([6.0, -8.0]))


def test_r1_of_a_quadratic_discriminator_averages_over_memories():
    memories = torch.tensor([[1.0, 0], [0, 3]], requires_grad=True)
    penalty = r1_penalty(memories.square().sum(-1), memories)  # gradient 2 x: (4 + 36) / 2
    assert penalty.item() == 20


def test_r1_of_a_half_precision_discriminator_with_tiny_gradients_does_not_underflow():
    weight = torch.full((1, 16), 2e-8)  # float16 has no number between 0 and 6e-8
    network = torch.nn.Linear(16, 1, bias=False)
    network.weight.data = weight * 1024
    memories = torch.randn(4, 16, requires_grad=True)

    def penalty(scale):
        with torch.autocast("cpu", torch.float16, cache_enabled=False):
            logits = network(memories)[:, 0].float() / 1024
        return r1_penalty(logits, memories, scale).item()

    expected = 16 * 2e-8**2
    assert penalty(1.0) == 0
    assert math.isclose(penalty(HALF_GRADIENT_SCALE), expected, rel_tol=0.05)
