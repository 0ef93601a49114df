"""Skeletons and clips: what they tell, and which mistakes they name."""

from dataclasses import replace

import pytest
import torch

from aign.data.motion import ROLES
from aign.errors import UserError
from aign.renderers.skeleton import Skeleton


def test_root_and_bones(skeleton):
    assert skeleton.root == 0
    assert skeleton.bones == [(0, 1), (0, 2), (0, 3), (3, 4), (3, 5), (3, 6)]


@pytest.mark.parametrize("parents", [(-1, -1, 0), (-1, 2, 0), (0, 0, 1), (-1, 0)])
def test_a_tree_out_of_order_is_refused(parents):
    with pytest.raises(UserError):
        Skeleton(joint_names=("a", "b", "c"), parents=parents, left_hip=0, right_hip=1, neck=2)


def test_every_frame_plays_the_one_role_of_its_clip(clips):
    frames = {role: set(clips.frames(role).tolist()) for role in ROLES}
    assert sum(len(part) for part in frames.values()) == len(clips.joints_mm)
    assert set().union(*frames.values()) == set(range(len(clips.joints_mm)))
    assert {clips.clip_names[i] for i in clips.frame_clips[clips.frames("test")].tolist()} == {"test/wave", "test/walk"}


def test_frame_actions_index_the_sorted_actions(clips):
    assert clips.actions == ("walk", "wave")
    assert clips.frame_actions[:24].tolist() == [1] * 12 + [0] * 12


def test_joints_that_are_no_numbers_are_named_by_clip(clips):
    joints = clips.joints_mm.clone()
    joints[13, 2, 0] = torch.nan
    with pytest.raises(UserError, match=r"pairs/walk.*1 frames hold NaN"):
        replace(clips, joints_mm=joints)


def test_another_joint_count_than_the_skeletons_is_refused(clips):
    with pytest.raises(UserError, match=r"7 joints"):
        replace(clips, joints_mm=clips.joints_mm[:, :5])


def test_a_role_nobody_plays_is_refused(clips):
    roles = tuple("test" if role == "memories" else role for role in clips.clip_roles)
    with pytest.raises(UserError, match=r"memories"):
        replace(clips, clip_roles=roles)
