"""Motions from matches: the ones known beforehand, and how the loss falls."""

import math

import pytest
import torch

from aign.data.pointclouds import moved, random_motion
from aign.errors import UserError
from aign.fitting.registration.rigid import align, distances, weighted_motion
from aign.losses.robust import rho
from aign.losses.schedules import GNC, Fixed, Geometric, Gnc


@pytest.fixture
def points(rng):
    return torch.randn(200, 3, generator=rng, dtype=torch.float64)


@pytest.fixture
def spoilt(points, rng):
    """A motion, and targets of the points of which the first half are matched to something else entirely."""
    pose = random_motion(rng, 2.0)
    target = moved(pose, points)
    target[:100] = 6 * torch.rand(100, 3, generator=rng, dtype=torch.float64) + target.mean(0)
    return pose, target


def test_a_quarter_turn_by_hand():
    source = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
    target = torch.tensor([[10.0, 1, 0], [9, 0, 0], [10, 0, 1]], dtype=torch.float64)
    expected = torch.tensor([[0.0, -1, 0, 10], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(weighted_motion(source, target, torch.ones(3).double()), expected)


def test_mirrored_points_are_not_mirrored_back(points, assert_proper_rotations):
    pose = weighted_motion(points, points * torch.tensor([-1.0, 1, 1]), torch.ones(200).double())
    assert_proper_rotations(pose[None, :3, :3].float())


def test_what_weighs_nothing_does_not_count(points, rng):
    pose = random_motion(rng, 2.0)
    target = moved(pose, points)
    target[0] += 1000
    weights = torch.ones(200).double()
    weights[0] = 0
    torch.testing.assert_close(weighted_motion(points, target, weights), pose)


@pytest.mark.parametrize("alpha", [2.0, 1.0, 0.0, -2.0, -32.0, -math.inf])
def test_without_noise_every_alpha_finds_any_motion(points, rng, alpha):
    pose = random_motion(rng, 5.0)
    found = align(points, moved(pose, points), Fixed(alpha), Fixed(0.1))
    torch.testing.assert_close(found.target_from_source, pose)
    torch.testing.assert_close(found.trust, torch.ones(200).double())
    assert found.losses[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("alpha", "scale"), [(Fixed(-2.0), Geometric(4.0, 0.1)), (Gnc(), Fixed(0.1)), (Fixed(-8.0), Geometric(4.0, 0.1))]
)
def test_annealed_losses_recover_from_half_of_the_matches_wrong(points, spoilt, alpha, scale):
    pose, target = spoilt
    found = align(points, target, alpha, scale)
    torch.testing.assert_close(found.target_from_source, pose, atol=0.02, rtol=0)
    assert found.trust[:100].median() < 0.01
    assert found.trust[100:].min() > 0.9


def test_squares_do_not_recover(points, spoilt):
    _, target = spoilt
    found = align(points, target, Fixed(2.0), Fixed(0.1))
    assert distances(found.target_from_source, points, target)[100:].mean() > 0.5


@pytest.mark.parametrize("alpha", [1.0, 0.3, 0.0, -2.0, -8.0])
def test_no_turn_raises_the_loss(points, spoilt, alpha):
    losses = torch.tensor(align(points, spoilt[1], Fixed(alpha), Fixed(0.5)).losses)
    assert (losses.diff() <= 1e-12).all()
    assert losses[-1] < losses[0]


def test_moving_both_clouds_moves_the_answer(points, spoilt, rng):
    _, target = spoilt
    here, there = random_motion(rng, 3.0), random_motion(rng, 3.0)
    found = align(points, target, Fixed(-2.0), Geometric(4.0, 0.1)).target_from_source
    elsewhere = align(moved(here, points), moved(there, target), Fixed(-2.0), Geometric(4.0, 0.1)).target_from_source
    torch.testing.assert_close(elsewhere @ here, there @ found, atol=1e-6, rtol=0)


def test_the_unit_does_not_matter(points, spoilt):
    _, target = spoilt
    metres = align(points, target, Gnc(), Fixed(0.1))
    millimetres = align(1000 * points, 1000 * target, Gnc(), Fixed(100.0))
    torch.testing.assert_close(millimetres.target_from_source[:3, 3], 1000 * metres.target_from_source[:3, 3])
    torch.testing.assert_close(millimetres.trust, metres.trust)


def test_alpha_passes_through_the_papers_values(points, spoilt, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "aign.fitting.registration.rigid.rho",
        lambda x, alpha, scale: seen.append((alpha, scale)) or rho(x, alpha, scale),
    )
    align(points, spoilt[1], Gnc(), Geometric(8.0, 1.0))
    alphas, scales = zip(*seen, strict=True)
    expected = [alpha for alpha in (*GNC, *[GNC[-1]] * 3) for _ in range(4)]
    assert list(alphas) == expected
    assert (scales[0], scales[3], scales[-1]) == (8.0, 8.0, pytest.approx(1.0))


def test_nothing_within_reach_is_refused(points):
    with pytest.raises(UserError, match="no match is within reach of alpha -inf"):
        align(points, 50 * points.flip(0), Fixed(-math.inf), Fixed(1e-3))
    with pytest.raises(UserError, match="no match is within reach of alpha inf"):
        align(points, 50 * points.flip(0), Fixed(math.inf), Fixed(1e-3))
