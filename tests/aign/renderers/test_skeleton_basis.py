"""The pose renderer: shape basis, pose and keypoints, for any skeleton."""

import pytest
import torch
from torch.autograd import gradcheck

from aign.renderers.skeleton_basis import BasisRenderer

FACTORS = ("weights", "rotation", "translation_mm", "focal_px")


@pytest.fixture
def poses(rng):
    """40 poses of 9 joints with four degrees of freedom."""
    freedoms = torch.randn(4, 9, 3, generator=rng)
    return 50 * torch.einsum("nk,kjc->njc", torch.randn(40, 4, generator=rng), freedoms) + 10


@pytest.fixture
def fitted(poses):
    renderer = BasisRenderer(6, 9, image_size=64)
    renderer.fit(poses)
    return renderer


@pytest.fixture
def factors(random_rotations, rng):
    return {
        "weights": torch.randn(3, 6, generator=rng),
        "rotation": random_rotations(3),
        "translation_mm": torch.tensor([[0.0, 0, 3000], [50, -20, 2500], [-80, 10, 4000]]),
        "focal_px": torch.tensor([60.0, 70, 90]),
    }


def test_render_by_hand():
    # Mean (100, 0, 0) plus 2 x (0, 50, 0) is (100, 100, 0); a half turn about z makes it (-100, -100, 0); 1000 mm
    # away with f = 200 px it is 20 px left of and above the centre (31.5, 31.5).
    renderer = BasisRenderer(1, 1, image_size=64)
    renderer.mean_mm.copy_(torch.tensor([[100.0, 0, 0]]))
    renderer.basis_mm.copy_(torch.tensor([[[0.0, 50, 0]]]))
    rendered = renderer(
        {
            "weights": torch.tensor([[2.0]]),
            "rotation": torch.diag(torch.tensor([-1.0, -1, 1]))[None],
            "translation_mm": torch.tensor([[0.0, 0, 1000]]),
            "focal_px": torch.tensor([200.0]),
        },
        {},
    )
    torch.testing.assert_close(rendered["keypoints_px"], torch.tensor([[[11.5, 11.5]]]))


def test_basis_rebuilds_the_poses_it_was_fitted_to(fitted, poses):
    torch.testing.assert_close(fitted.shape(fitted.weights(poses)), poses, atol=0.05, rtol=0)


def test_weights_are_standard_and_ordered_by_what_they_explain(fitted, poses):
    weights = fitted.weights(poses)[:, :4]
    torch.testing.assert_close(weights.T @ weights / len(weights), torch.eye(4), atol=1e-3, rtol=0)
    explained = fitted.basis_mm.flatten(1).norm(dim=-1)
    assert (explained.diff() <= 1e-3).all()


def test_more_components_than_degrees_of_freedom_are_zero(poses):
    renderer = BasisRenderer(40, 9, image_size=64)
    renderer.fit(poses)
    assert renderer.basis_mm[27:].abs().max() == 0
    torch.testing.assert_close(renderer.shape(renderer.weights(poses)), poses, atol=0.05, rtol=0)


def test_joints_behind_the_camera_are_marked(fitted, factors):
    factors["translation_mm"] = torch.tensor([[0.0, 0, 3000], [0, 0, -3000], [0, 0, 3000]])
    assert fitted(factors, {})["in_front"].all(-1).tolist() == [True, False, True]


def test_gradient_in_every_factor(fitted, factors):
    fitted.double()
    inputs = [factors[name].double().requires_grad_() for name in FACTORS]
    assert gradcheck(lambda *values: fitted(dict(zip(FACTORS, values, strict=True)), {})["keypoints_px"], inputs)
