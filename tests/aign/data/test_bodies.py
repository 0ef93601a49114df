"""The generated world: bodies that are bodies, motion that varies, roles that do not leak."""

import numpy as np
import pytest
import torch

from aign.data.bodies import ANKLE_HEIGHT_MM, FREEDOMS, SKELETON, bone_offsets, generated_bodies, pose
from aign.data.body_actions import ACTIONS
from aign.data.motion import ROLES
from aign.errors import UserError

FRAMES = 60


def joint(name):
    return SKELETON.joint_names.index(name)


@pytest.fixture(scope="module")
def world():
    return generated_bodies(3, takes=2, frames=FRAMES)


@pytest.fixture(scope="module")
def clips(world):
    """(clips, frames, 17, 3)"""
    return world.joints_mm.unflatten(0, (-1, FRAMES))


def bone(joints, start, end):
    return joints[..., joint(end), :] - joints[..., joint(start), :]


def angle_deg(a, b):
    return torch.rad2deg(torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1)))


def bend_deg(joints, start, middle, end):
    return angle_deg(bone(joints, start, middle), bone(joints, middle, end))


def limits(name):
    return next((freedom.low_deg, freedom.high_deg) for freedom in FREEDOMS if freedom.name == name)


def posed(**degrees):
    """Joints of one body at rest but for the named angles."""
    angles = torch.tensor([degrees.pop(freedom.name, 0.0) for freedom in FREEDOMS], dtype=torch.float32)
    assert not degrees, f"no freedom is called {degrees}"
    return pose(angles, bone_offsets(np.random.default_rng(0)))


def lengths(joints):
    return torch.stack([(joints[..., c, :] - joints[..., p, :]).norm(dim=-1) for p, c in SKELETON.bones], -1)


def test_bones_keep_their_length_within_a_clip_and_differ_between_subjects(world, clips):
    of_clips = lengths(clips)
    torch.testing.assert_close(of_clips, of_clips[:, :1].expand_as(of_clips), atol=0.02, rtol=0)
    subjects = {name.split("/")[0]: of_clips[i, 0] for i, name in enumerate(world.clip_names)}
    assert len(subjects) == 11
    statures = torch.stack(list(subjects.values())).sum(1)
    assert statures.unique().numel() == 11


def test_left_and_right_bones_are_alike(clips):
    of_bones = dict(zip((SKELETON.joint_names[c] for _, c in SKELETON.bones), lengths(clips)[:, 0].T, strict=True))
    for name in of_bones:
        if name.startswith("left_"):
            torch.testing.assert_close(of_bones[name], of_bones[name.replace("left", "right")], atol=0.02, rtol=0)


@pytest.mark.parametrize("side", ["left", "right"])
def test_knees_and_elbows_stay_within_their_limits(clips, side):
    for name, chain in (("knee", ("hip", "knee", "ankle")), ("elbow", ("shoulder", "elbow", "wrist"))):
        low, high = limits(f"{side}_{name}_flexion")
        bends = bend_deg(clips, *(f"{side}_{part}" for part in chain))
        assert low == 0
        assert bends.max() <= high + 0.1
        assert bends.max() > 90, "somebody bends it well"


@pytest.mark.parametrize("side", ["left", "right"])
def test_knees_bend_backward_in_every_frame(clips, side):
    thigh, shank = bone(clips, f"{side}_hip", f"{side}_knee"), bone(clips, f"{side}_knee", f"{side}_ankle")
    rightward = bone(clips, "left_hip", "right_hip")
    hinge = (torch.linalg.cross(thigh, shank) * rightward).sum(-1)
    assert (hinge / (thigh.norm(dim=-1) * shank.norm(dim=-1) * rightward.norm(dim=-1))).max() < 1e-4


def test_a_bent_knee_takes_the_foot_backward_and_a_bent_elbow_the_hand_forward():
    # The body at rest faces +z.
    bent = posed(left_knee_flexion=60.0, right_elbow_flexion=60.0)
    assert bone(bent, "left_knee", "left_ankle")[2] < -100
    assert bone(bent, "right_elbow", "right_wrist")[2] > 100


def test_signs_of_the_freedoms():
    turned = {
        "left_shoulder_abduction": ("left_shoulder", "left_elbow", 0, -1),
        "right_shoulder_abduction": ("right_shoulder", "right_elbow", 0, 1),
        "left_hip_abduction": ("left_hip", "left_knee", 0, -1),
        "right_hip_flexion": ("right_hip", "right_knee", 2, 1),
        "spine_flexion": ("spine", "thorax", 2, 1),
        "spine_bend": ("spine", "thorax", 0, 1),
        "pelvis_lean": ("pelvis", "spine", 2, 1),
        "pelvis_heading": ("left_hip", "right_hip", 2, -1),
    }
    for name, (start, end, axis, sign) in turned.items():
        assert sign * bone(posed(**{name: 20.0}), start, end)[axis] > 30, name


def test_an_inward_turn_of_either_shoulder_brings_the_hands_together():
    apart = posed(left_elbow_flexion=90.0, right_elbow_flexion=90.0)
    inward = posed(
        left_elbow_flexion=90.0, right_elbow_flexion=90.0, left_shoulder_rotation=40.0, right_shoulder_rotation=40.0
    )
    gap = bone(inward, "left_wrist", "right_wrist")
    assert gap[0] < bone(apart, "left_wrist", "right_wrist")[0] - 200
    torch.testing.assert_close(gap[1:], torch.zeros(2), atol=1e-3, rtol=0)


def test_angles_beyond_the_limits_are_clipped():
    low, high = limits("left_knee_flexion")
    torch.testing.assert_close(posed(left_knee_flexion=high + 30), posed(left_knee_flexion=high))
    torch.testing.assert_close(posed(left_knee_flexion=low - 30), posed(left_knee_flexion=low))


def test_up_is_minus_y_and_a_foot_is_on_the_ground(world, clips):
    assert (bone(clips, "pelvis", "head")[..., 1] < -200).all()
    lower_ankle = clips[:, :, [joint("left_ankle"), joint("right_ankle")], 1].amax(-1)
    flies = torch.tensor([action in ("running", "jumping") for action in world.clip_actions])
    grounded = torch.full_like(lower_ankle[~flies], -ANKLE_HEIGHT_MM)
    torch.testing.assert_close(lower_ankle[~flies], grounded, atol=0.01, rtol=0)
    assert (lower_ankle[flies] <= -ANKLE_HEIGHT_MM + 0.01).all()
    assert (lower_ankle[flies].amin(1) < -ANKLE_HEIGHT_MM - 20).all(), "everybody who runs or jumps leaves the ground"


def test_walking_goes_where_the_body_faces(world, clips):
    walks = clips[[i for i, action in enumerate(world.clip_actions) if action == "walking"]]
    rightward = bone(walks, "left_hip", "right_hip")
    forward = torch.linalg.cross(rightward, torch.tensor([0.0, 1, 0]).expand_as(rightward))[..., [0, 2]]
    forward = torch.nn.functional.normalize(forward, dim=-1)
    velocity = walks[:, :, 0, [0, 2]].diff(dim=1) * 30
    speed = (velocity * forward[:, :-1]).sum(-1).mean(1)
    assert ((speed > 500) & (speed < 2500)).all()


def test_headings_go_all_around(clips):
    rightward = bone(clips[:, 0], "left_hip", "right_hip")
    quadrants = (rightward[:, 0] > 0).long() * 2 + (rightward[:, 2] > 0)
    assert (quadrants.bincount(minlength=4) > len(clips) / 10).all()


def test_the_best_constant_pose_is_a_bad_predictor_of_limbs(world):
    """Even when told where the pelvis is and which way the body faces."""
    joints = world.joints_mm - world.joints_mm[:, :1]
    rightward = bone(joints, "left_hip", "right_hip")
    cos, sin = torch.nn.functional.normalize(rightward[:, [0, 2]], dim=-1).T[:, :, None]
    x, y, z = joints.unbind(-1)
    facing = torch.stack([cos * x + sin * z, y, cos * z - sin * x], -1)[world.frames("test")]
    errors = (facing - facing.mean(0)).norm(dim=-1).mean(0)
    for name in ("elbow", "wrist", "knee", "ankle"):
        assert errors[joint(f"left_{name}")] > 100
        assert errors[joint(f"right_{name}")] > 100


def test_roles_share_no_subject_and_pairs_only_walk(world):
    subjects = {
        role: {n.split("/")[0] for n, r in zip(world.clip_names, world.clip_roles, strict=True) if r == role}
        for role in ROLES
    }
    assert all(subjects.values())
    assert sum(map(len, subjects.values())) == len(set.union(*subjects.values()))
    actions = {
        role: {a for a, r in zip(world.clip_actions, world.clip_roles, strict=True) if r == role} for role in ROLES
    }
    assert actions["pairs"] == {"walking"}
    assert all(actions[role] == set(ACTIONS) for role in ROLES if role != "pairs")


def test_the_seed_and_nothing_else_decides():
    torch.manual_seed(1)
    first = generated_bodies(5, takes=1, frames=20)
    torch.manual_seed(2)
    again, other = generated_bodies(5, takes=1, frames=20), generated_bodies(6, takes=1, frames=20)
    assert torch.equal(first.joints_mm, again.joints_mm)
    assert first.clip_names == again.clip_names == other.clip_names
    assert not torch.isclose(first.joints_mm, other.joints_mm).all(-1).all(-1).any()


def test_more_takes_leave_the_earlier_ones_as_they_are():
    few, many = generated_bodies(0, takes=1, frames=20), generated_bodies(0, takes=2, frames=20)
    where = [many.clip_names.index(name) for name in few.clip_names]
    torch.testing.assert_close(
        few.joints_mm.unflatten(0, (-1, 20)), many.joints_mm.unflatten(0, (-1, 20))[where], atol=1e-2, rtol=0
    )
    assert len(set(many.clip_names)) == len(many.clip_names)


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"takes": 0}, {"frames": 1}])
def test_numbers_that_make_no_world_are_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        generated_bodies(**wrong)
