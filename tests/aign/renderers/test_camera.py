"""Rotations and the pinhole camera: cases worked by hand, properties, gradients."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from aign.renderers.camera import NEAR_MM, project, rotation_from_6d, rotation_from_euler

QUARTER = math.pi / 2


@pytest.mark.parametrize(
    ("angles", "point", "expected"),
    [
        ((QUARTER, 0, 0), (0, 1, 0), (0, 0, 1)),  # Rx: y to z
        ((0, QUARTER, 0), (0, 0, 1), (1, 0, 0)),  # Ry: z to x
        ((0, 0, QUARTER), (1, 0, 0), (0, -1, 0)),  # Rz transposed: x to -y
        ((QUARTER, QUARTER, 0), (1, 0, 0), (0, 1, 0)),  # Ry first: x to -z; then Rx: -z to y
        ((QUARTER, 0, QUARTER), (0, 1, 0), (1, 0, 0)),  # Rz^T first: y to x, which Rx leaves
    ],
)
def test_euler_is_rx_ry_rz_transposed(angles, point, expected):
    rotation = rotation_from_euler(torch.tensor([angles], dtype=torch.float32))[0]
    torch.testing.assert_close(
        rotation @ torch.tensor(point).float(), torch.tensor(expected).float(), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(("code", "size"), [(rotation_from_euler, 3), (rotation_from_6d, 6)])
def test_codes_give_proper_rotations_with_exact_gradients(code, size, rng, assert_proper_rotations):
    assert_proper_rotations(code(torch.randn(20, size, generator=rng)))
    assert gradcheck(code, torch.randn(2, size, generator=rng, dtype=torch.float64, requires_grad=True))


def test_6d_round_trip_and_its_freedom_in_length(random_rotations):
    rotation = random_rotations(5)
    columns = torch.cat([3 * rotation[..., 0], rotation[..., 1] + 2 * rotation[..., 0]], dim=-1)
    torch.testing.assert_close(rotation_from_6d(columns), rotation)


def test_project_by_hand():
    # f = 100 px; (200, -100) mm at 1000 mm is (20, -10) px from the centre, which is (127.5, 127.5) of 256 px.
    points = torch.tensor([[[200.0, -100, 1000], [0, 0, 5000]]])
    keypoints, in_front = project(points, torch.tensor([100.0]), 256)
    torch.testing.assert_close(keypoints, torch.tensor([[[147.5, 117.5], [127.5, 127.5]]]))
    assert in_front.all()


def test_project_is_undone_by_the_known_depth(rng):
    points = torch.randn(3, 5, 3, generator=rng) + torch.tensor([0, 0, 10.0])
    focal = torch.tensor([100.0, 200, 300])
    keypoints, _ = project(1000 * points, focal, 64)
    xy = (keypoints - 31.5) / focal[:, None, None] * points[..., 2:]
    torch.testing.assert_close(xy, points[..., :2], atol=1e-4, rtol=1e-4)


def test_points_behind_or_too_near_are_marked_and_finite():
    points = torch.tensor([[[10.0, 0, -500], [10, 0, 0], [10, 0, NEAR_MM], [10, 0, NEAR_MM + 1]]], requires_grad=True)
    keypoints, in_front = project(points, torch.tensor([100.0]), 64)
    assert in_front.tolist() == [[False, False, False, True]]
    keypoints.sum().backward()
    assert torch.isfinite(keypoints).all()
    assert torch.isfinite(points.grad).all()


def test_project_gradient_in_points_and_focal(rng):
    points = 200 * torch.randn(2, 4, 3, generator=rng, dtype=torch.float64) + torch.tensor([0, 0, 3000])
    focal = torch.tensor([150.0, 220], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda p, f: project(p, f, 64)[0], (points.requires_grad_(), focal))
