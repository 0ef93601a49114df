"""Random cameras look at a person from all sides."""

import math

import torch

from aign.data.cameras import FOCAL, NUM_RANDOM, OFF_CENTRE, photograph, random_cameras


def test_the_middle_camera_by_hand():
    # Half a turn, 7.5 degrees pitch, no roll, f = 1.275 * 100 px, 2800 mm over 100 px: depth 1.275 * 2800 mm.
    camera = random_cameras(torch.full((1, NUM_RANDOM), 0.5), 100)
    assert math.isclose(camera["focal_px"].item(), 127.5, rel_tol=1e-6)
    torch.testing.assert_close(camera["translation_mm"], torch.tensor([[0.0, 0, 3570]]))
    pitch = math.radians(7.5)
    down = camera["rotation"][0] @ torch.tensor([0.0, 1, 0])
    torch.testing.assert_close(down, torch.tensor([0.0, math.cos(pitch), math.sin(pitch)]), atol=1e-6, rtol=0)
    front = camera["rotation"][0] @ torch.tensor([0.0, 0, -1])
    assert front[2] > 0.9  # half a turn: what faced the camera faces away


def test_people_stand_in_the_picture_and_are_seen_from_all_sides(rng, assert_proper_rotations):
    camera = random_cameras(torch.rand(500, NUM_RANDOM, generator=rng), 256)
    assert_proper_rotations(camera["rotation"])
    joints, keypoints = photograph(torch.zeros(500, 1, 3), camera, 256)
    assert torch.equal(joints[:, 0], camera["translation_mm"])
    assert (keypoints - 127.5).abs().max() <= OFF_CENTRE * 256 + 1e-3
    assert FOCAL[0] <= camera["focal_px"].min() / 256 <= camera["focal_px"].max() / 256 <= FOCAL[1]
    facing = camera["rotation"][:, 0, 0]
    assert facing.min() < -0.9
    assert facing.max() > 0.9
