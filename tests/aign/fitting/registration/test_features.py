"""Features of points on surfaces whose normals are known."""

import pytest
import torch

from aign.data.pointclouds import generated_pair, moved, random_motion
from aign.fitting.registration.features import fpfh, neighbours, outward, plane_normals


@pytest.fixture
def sphere(rng):
    """Points on a unit sphere about (5, 0, 0)."""
    directions = torch.nn.functional.normalize(torch.randn(800, 3, generator=rng, dtype=torch.float64), dim=1)
    return directions + torch.tensor([5.0, 0, 0]), directions


def test_neighbours_are_near_and_others():
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [3, 0, 0], [0, 0, 0]], dtype=torch.float64)
    near = neighbours(points, radius=1.5, most=80)
    assert near.others.shape == (4, 3)
    found = [set(row[known].tolist()) for row, known in zip(near.others, near.known, strict=True)]
    assert found == [{1}, {0, 3}, set(), {1}]  # what lies at the very same place has no direction


def test_normals_of_a_sphere_point_out(sphere):
    points, directions = sphere
    near = neighbours(points, 0.3, 80)
    normals = outward(points, plane_normals(points, near), near)
    assert (normals * directions).sum(1).min() > 0.9


def test_every_piece_has_its_own_outside(sphere):
    points, directions = sphere
    two = torch.cat([points, points + torch.tensor([10.0, 0, 0])])
    near = neighbours(two, 0.3, 80)
    normals = outward(two, plane_normals(two, near), near)
    assert (normals * torch.cat([directions, directions])).sum(1).min() > 0.9


def test_every_histogram_sums_to_one(sphere):
    features = fpfh(sphere[0], 0.5)
    torch.testing.assert_close(features.view(-1, 3, 11).sum(-1), torch.ones(800, 3).double())


def test_a_point_alone_has_no_features(sphere):
    points = torch.cat([sphere[0], torch.full((1, 3), 50.0, dtype=torch.float64)])
    features = fpfh(points, 0.5)
    assert features[-1].abs().sum() == 0
    assert features.isfinite().all()


def test_a_pose_does_not_change_features(rng):
    points = generated_pair(0, num_points=500).target
    features, elsewhere = (fpfh(p, 0.6) for p in (points, moved(random_motion(rng, 3.0), points)))
    # angles that lie on the border of two bins may fall either way
    assert (features - elsewhere).abs().mean() < 1e-4


def test_the_order_of_points_does_not_matter(rng):
    points = generated_pair(0, num_points=300).target
    order = torch.randperm(300, generator=rng)
    torch.testing.assert_close(fpfh(points[order], 0.6), fpfh(points, 0.6)[order])


def test_three_points_have_features():
    assert fpfh(torch.eye(3, dtype=torch.float64), 2.0).isfinite().all()
