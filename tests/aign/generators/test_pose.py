"""Generators of poses: factors that are possible before anything is learnt."""

import pytest
import torch

from aign.generators.pose import BODY_SPREAD_MM, HeatmapLifter, ResidualLifter
from aign.renderers.camera import centre_and_spread, project

IMAGE_SIZE = 64


@pytest.fixture(params=["residual", "heatmap"])
def make_generator(request):
    def make_generator(num_joints, rotation="6d"):
        torch.manual_seed(0)
        sizes = {"num_joints": num_joints, "num_components": 4, "image_size": IMAGE_SIZE, "width": 16}
        if request.param == "heatmap":
            return HeatmapLifter(**sizes, rotation=rotation)
        return ResidualLifter(**sizes, rotation=rotation, num_blocks=1)

    return make_generator


def test_centre_and_spread_by_hand():
    # Two points 6 px apart: 3 px from their middle. A single point has no spread and gets 1.
    centre, spread = centre_and_spread(torch.tensor([[[10.0, 5], [16, 5]], [[7, 7], [7, 7]]]))
    assert centre.tolist() == [[13, 5], [7, 7]]
    assert spread.tolist() == [3, 1]


@pytest.mark.parametrize("rotation", ["6d", "euler"])
@pytest.mark.parametrize("num_joints", [5, 17])
def test_factors_of_any_skeleton_are_possible(rotation, num_joints, make_generator, rng, assert_proper_rotations):
    keypoints = IMAGE_SIZE * torch.rand(3, num_joints, 2, generator=rng)
    inferred = make_generator(num_joints, rotation)({"keypoints_px": keypoints})
    assert inferred["weights"].shape == (3, 4)
    assert_proper_rotations(inferred["rotation"])
    assert (inferred["translation_mm"][:, 2] > 0).all()
    assert ((inferred["focal_px"] > 0.9 * IMAGE_SIZE) & (inferred["focal_px"] < 1.8 * IMAGE_SIZE)).all()


def test_a_network_that_says_nothing_puts_an_ordinary_body_on_the_keypoints(
    make_generator, rng, assert_proper_rotations
):
    generator = make_generator(6)
    torch.nn.init.zeros_(generator.head.linear.weight)
    torch.nn.init.zeros_(generator.head.linear.bias)
    keypoints = 20 + 10 * torch.rand(4, 6, 2, generator=rng)
    inferred = generator({"keypoints_px": keypoints})
    torch.testing.assert_close(inferred["rotation"], torch.eye(3).expand(4, 3, 3))
    centre, spread = centre_and_spread(keypoints)
    edge = inferred["translation_mm"] + torch.tensor([BODY_SPREAD_MM, 0, 0])
    ends, _ = project(torch.stack([inferred["translation_mm"], edge], 1), inferred["focal_px"], IMAGE_SIZE)
    torch.testing.assert_close(ends[:, 0], centre, atol=1e-3, rtol=0)
    torch.testing.assert_close(ends[:, 1, 0] - ends[:, 0, 0], spread, atol=1e-3, rtol=0)


def test_every_weight_learns(make_generator, rng):
    generator = make_generator(6)
    inferred = generator({"keypoints_px": IMAGE_SIZE * torch.rand(4, 6, 2, generator=rng)})
    sum((value * torch.rand(value.shape, generator=rng)).sum() for value in inferred.values()).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in generator.parameters())
