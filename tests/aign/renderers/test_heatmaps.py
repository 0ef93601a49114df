"""Keypoints drawn as Gaussian bumps."""

import math

import torch
from torch.autograd import gradcheck

from aign.renderers.heatmaps import gaussian_heatmaps


def test_a_bump_by_hand():
    # Heatmap as large as the image: column 2, row 1 is the keypoint; one pixel to the right it is exp(-1 / (2 * 0.25)).
    maps = gaussian_heatmaps(torch.tensor([[[2.0, 1.0]]]), 4, 4, 0.25)[0, 0]
    assert maps[1, 2] == 1
    assert math.isclose(maps[1, 3], math.exp(-2), rel_tol=1e-6)
    assert math.isclose(maps[2, 3], math.exp(-4), rel_tol=1e-6)


def test_centres_of_pixels_keep_their_place_when_the_map_is_smaller():
    # Pixels 0..3 of 8 lie under pixels 0 and 1 of 4: the middle of pixels 2 and 3 is the centre of pixel 1.
    maps = gaussian_heatmaps(torch.tensor([[[2.5, 2.5]]]), 8, 4, 0.5)[0, 0]
    assert maps[1, 1] == 1


def test_the_brightest_pixel_is_the_keypoint_whatever_the_joint_count():
    keypoints = torch.tensor([[[5.0, 9], [0, 0], [15, 3]], [[7, 7], [1, 14], [12, 15]]])
    maps = gaussian_heatmaps(keypoints, 16, 16, 1.0)
    assert maps.shape == (2, 3, 16, 16)
    brightest = maps.flatten(2).argmax(-1)
    assert torch.equal(torch.stack([brightest % 16, brightest // 16], -1), keypoints.long())


def test_a_keypoint_outside_leaves_its_map_empty():
    assert gaussian_heatmaps(torch.tensor([[[-20.0, 5], [90, 90]]]), 16, 16, 1.0).max() < 1e-10


def test_gradient():
    keypoints = torch.tensor([[[3.3, 4.1], [6.0, 2.2]]], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda k: gaussian_heatmaps(k, 8, 4, 1.5), keypoints)
