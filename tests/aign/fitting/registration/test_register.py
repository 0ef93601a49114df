"""Registration from end to end, on generated clouds and on the real scans where AIGN_DATA has them."""

import os

import pytest
import torch

from aign.data.pointclouds import generated_pair, moved, random_motion, scan_pair
from aign.errors import UserError
from aign.fitting.registration import annealed_scale, register, terminal_scale

REAL = pytest.mark.skipif("AIGN_DATA" not in os.environ, reason="AIGN_DATA is not set: no real scans to register")


def test_a_moved_copy_is_put_back_exactly(rng):
    target = generated_pair(0, num_points=600).target
    pose = random_motion(rng, 4.0)
    found, facts = register(moved(torch.linalg.inv(pose), target), target)
    torch.testing.assert_close(found, pose, atol=1e-5, rtol=0)
    assert facts.trusted > 0.99
    assert facts.num_candidates > 550
    assert len(facts.losses) == 64


@pytest.mark.parametrize("loss", ["shape annealed", "FGR"])
def test_two_views_are_brought_together(loss):
    pair = generated_pair(1, num_points=1000, noise=0.001)
    clouds = pair.source, pair.target
    options = {} if loss == "shape annealed" else {"alpha": -2, "scale": annealed_scale(*clouds)}
    pose, _ = register(*clouds, **options)
    assert pair.rmse(pose) < 0.02
    squares, _ = register(*clouds, alpha=2)
    assert pair.rmse(squares) > 2 * pair.rmse(pose)


def test_the_result_is_of_the_sources_type():
    pair = generated_pair(0, num_points=400)
    pose, _ = register(pair.target.float(), pair.target.float(), iterations=8)
    assert pose.dtype == torch.float32
    torch.testing.assert_close(pose, torch.eye(4), atol=1e-4, rtol=0)


def test_the_scale_is_of_the_clouds_size():
    points = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]])
    assert terminal_scale(points, 10 * points) == pytest.approx(10 * 0.025**0.5 / 2)
    annealed = annealed_scale(points, 10 * points)
    assert annealed.at(0.0) == pytest.approx(5)  # mu = 4 c^2 begins as the squared radius
    assert annealed.at(1.0) == pytest.approx(terminal_scale(points, 10 * points))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (torch.zeros(2, 3), "source cloud: has 2 points"),
        (torch.tensor([[0.0, 0, 0], [1, float("nan"), 0], [0, 1, 0]]), "point 1 is NaN"),
        (torch.ones(5, 3), "all points are the same"),
    ],
)
def test_says_what_is_wrong_with_a_cloud(source, reason):
    with pytest.raises(UserError, match=reason):
        register(source, torch.rand(20, 3, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    ("options", "reason"), [({"scale": 0}, "a scale is positive"), ({"radius": -1.0}, "radius = -1")]
)
def test_says_what_is_wrong_with_an_option(options, reason):
    points = generated_pair(0, num_points=100).target
    with pytest.raises(UserError, match=reason):
        register(points, points, **options)


@REAL
@pytest.mark.parametrize("seed", [0, 1])
def test_the_real_scans_are_brought_together(seed):
    pair = scan_pair(seed, num_points=1500)
    pose, facts = register(pair.source, pair.target)
    assert pair.rmse(pose) < 0.015
    assert facts.trusted > 0.5
