"""Which way bodies face, and the frames they are aligned to."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from aign.renderers.camera import rotation_from_euler
from aign.renderers.torso import facing_rotation, root_relative, rotate, torso_rotation

ALIGNMENTS = pytest.mark.parametrize("rotation_of", [facing_rotation, torso_rotation])


def about_y(degrees):
    return rotation_from_euler(torch.tensor([[0.0, math.radians(degrees), 0]]))


def test_root_relative_puts_the_root_at_zero_and_keeps_bones(people, skeleton):
    joints = people(3)
    relative = root_relative(joints, skeleton)
    assert relative[:, skeleton.root].abs().max() == 0
    torch.testing.assert_close(relative[:, 4] - relative[:, 3], joints[:, 4] - joints[:, 3], atol=1e-3, rtol=0)


@pytest.mark.parametrize("degrees", [-170, -60, 0, 90, 179])
def test_facing_is_the_turn_that_was_made_by_hand(degrees, skeleton):
    # Hips along x, so this body faces the camera; turned about y, it must be turned back by as much.
    body = torch.tensor([[[0.0, 0, 0], [100, 0, 0], [-100, 0, 0], [0, -500, 0], *[[0, 0, 0]] * 3]])
    turned = rotate(about_y(degrees), body)
    torch.testing.assert_close(facing_rotation(turned, skeleton), about_y(-degrees), atol=1e-5, rtol=0)


@ALIGNMENTS
def test_alignments_are_proper_rotations_and_idempotent(
    rotation_of, people, skeleton, random_rotations, assert_proper_rotations
):
    joints = rotate(random_rotations(20), people(20))
    rotation = rotation_of(joints, skeleton)
    assert_proper_rotations(rotation)
    again = rotation_of(rotate(rotation, joints), skeleton)
    torch.testing.assert_close(again, torch.eye(3).expand_as(again), atol=1e-4, rtol=0)


def test_facing_keeps_the_vertical_and_brings_the_left_hip_to_the_right_of_the_image(
    people, skeleton, random_rotations
):
    joints = rotate(random_rotations(20), people(20))
    aligned = rotate(facing_rotation(joints, skeleton), joints)
    torch.testing.assert_close(aligned[..., 1], joints[..., 1], atol=1e-2, rtol=0)
    hips = aligned[:, skeleton.left_hip] - aligned[:, skeleton.right_hip]
    assert (hips[:, 0] > 0).all()
    assert hips[:, 2].abs().max() < 0.1


def test_torso_is_upright_and_flat_after_its_rotation(people, skeleton, random_rotations):
    joints = rotate(random_rotations(20), people(20))
    aligned = rotate(torso_rotation(joints, skeleton), joints)
    hips = aligned[:, skeleton.left_hip] - aligned[:, skeleton.right_hip]
    spine = aligned[:, skeleton.neck] - aligned[:, skeleton.root]
    assert hips[:, 1:].abs().max() < 0.1
    assert (hips[:, 0] > 0).all()
    assert spine[:, 2].abs().max() < 0.1
    assert (spine[:, 1] < 0).all()  # y points down


@ALIGNMENTS
def test_alignment_gradient(rotation_of, people, skeleton):
    joints = (people(2, torch.float64) / 1000).requires_grad_()
    assert gradcheck(lambda j: rotate(rotation_of(j, skeleton), j), joints)
