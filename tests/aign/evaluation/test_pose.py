"""Errors of 3D pose: numbers by hand, and what each of them does not see."""

import pytest
import torch

from aign.evaluation.pose import flat_lift, mean_distance, mpjpe, pa_mpjpe, torso_aligned_error
from aign.renderers.camera import project
from aign.renderers.skeleton import Skeleton
from aign.renderers.torso import rotate

TOLERANCE_MM = 0.05


@pytest.fixture
def errors(skeleton):
    return {
        "mpjpe": lambda a, b: mpjpe(a, b, skeleton),
        "torso": lambda a, b: torso_aligned_error(a, b, skeleton),
        "pa": pa_mpjpe,
    }


ALL = pytest.mark.parametrize("name", ["mpjpe", "torso", "pa"])
MIRROR = torch.tensor([-1.0, 1, 1])


def test_mean_distance_by_hand():
    a = torch.tensor([[[0.0, 0], [0, 0]], [[1, 1], [1, 1]]])
    b = torch.tensor([[[3.0, 4], [0, 1]], [[1, 1], [1, 1]]])
    assert mean_distance(a, b).tolist() == [3, 0]


def test_mpjpe_by_hand_is_relative_to_the_root():
    skeleton = Skeleton(joint_names=("root", "hand"), parents=(-1, 0), left_hip=0, right_hip=1, neck=1)
    inferred = torch.tensor([[[10.0, 0, 0], [10, 30, 0]]])
    truth = torch.tensor([[[0.0, 0, 99], [0, 0, 139]]])
    assert mpjpe(inferred, truth, skeleton).tolist() == [25]  # the hand is off by (0, 30, -40), the root by none


@ALL
def test_zero_for_equal_and_one_number_a_sample(name, errors, people):
    joints = people(6)
    error = errors[name](joints, joints)
    assert error.shape == (6,)
    assert error.max() < TOLERANCE_MM


@ALL
def test_translation_is_not_seen_but_a_moved_joint_is(name, errors, people):
    joints = people(4)
    assert errors[name](joints + torch.tensor([300.0, -200, 50]), joints).max() < TOLERANCE_MM
    moved = joints.clone()
    moved[:, 5, 2] += 70
    assert errors[name](moved, joints).min() > 3


@ALL
def test_a_mirror_image_is_wrong(name, errors, people):
    joints = people(4)
    assert errors[name](joints * MIRROR, joints).min() > 15


def test_torso_error_does_not_see_the_rotation_of_either(errors, people, random_rotations):
    inferred, truth = people(8), people(8)
    expected = errors["torso"](inferred, truth)
    assert expected.min() > 10
    turned = errors["torso"](rotate(random_rotations(8), inferred), rotate(random_rotations(8), truth))
    torch.testing.assert_close(turned, expected, atol=TOLERANCE_MM, rtol=0)


def test_torso_error_sees_scale(errors, people):
    joints = people(4)
    assert errors["torso"](1.2 * joints, joints).min() > 30


def test_pa_does_not_see_similarity_transforms(people, random_rotations):
    truth = people(8)
    inferred = 1.7 * rotate(random_rotations(8), truth) + torch.tensor([500.0, 20, -900])
    assert pa_mpjpe(inferred, truth).max() < TOLERANCE_MM


def test_pa_is_never_above_mpjpe_about_the_centre(people):
    a, b = people(20), people(20)
    centred = mean_distance(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True))
    assert (pa_mpjpe(a, b) <= centred + 5).all()  # it minimises squares, which nearly bounds distances


def test_flat_lift_is_exact_on_a_flat_figure(people, skeleton, errors):
    flat = people(5)
    flat[..., 2] = 3000.0
    keypoints, _ = project(flat, torch.full((5,), 280.0), 256)
    assert errors["mpjpe"](flat_lift(keypoints, flat, skeleton), flat).max() < TOLERANCE_MM


def test_flat_lift_knows_no_depth(people, skeleton):
    figure = people(5)
    lifted = flat_lift(figure[..., :2], figure, skeleton)
    assert lifted[..., 2].abs().max() == 0
