"""CMU motion capture: tiny files in its layout that these tests write, and the real file where AIGN_DATA has it."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from aign.data.cmu import JOINT_NAMES, PAIRED_ACTION, load_cmu
from aign.data.data_root import data_file
from aign.data.motion import ROLES
from aign.errors import UserError

PARENTS = [-1, *[0, 1, 2, 3, 4, 5], *[0, 7, 8, 9, 10, 11], *[0, 13, 14, 15, 16, 17, 18]]
PARENTS += [*[15, 20, 21, 22, 23, 24, 25, 23, 27], *[15, 29, 30, 31, 32, 33, 34, 32, 36]]
ON_THEIR_PARENT = (1, 7, 13, 16, 20, 24, 27, 29, 33, 36)
NAMES = [f"{PAIRED_ACTION}/1", *(f"wave/{number}" for number in range(1, 6))]


def recording():
    """Six clips of three frames with y up."""
    rng = np.random.default_rng(0)
    joints = rng.normal(scale=300, size=(18, len(JOINT_NAMES), 3)).astype(np.float32)
    joints[:, ON_THEIR_PARENT] = joints[:, [PARENTS[j] for j in ON_THEIR_PARENT]]
    return {
        "joints": joints,
        "sequence_start": np.arange(0, 19, 3),
        "sequence_names": np.array(NAMES),
        "parents": np.array(PARENTS),
    }


@pytest.fixture
def write(tmp_path):
    def write(**replaced):
        path = tmp_path / "joints_mm.npz"
        np.savez_compressed(path, **{name: v for name, v in (recording() | replaced).items() if v is not None})
        return path

    return write


def test_joints_on_their_parent_are_dropped_and_bones_join_their_ancestor(write):
    clips = load_cmu(write())
    kept = [name for j, name in enumerate(JOINT_NAMES) if j not in ON_THEIR_PARENT]
    assert clips.skeleton.joint_names == tuple(kept)
    bones = {(kept[a], kept[b]) for a, b in clips.skeleton.bones}
    assert {("hips", "left_hip"), ("spine", "neck"), ("spine", "left_shoulder"), ("hips", "lower_back")} <= bones
    assert kept[clips.skeleton.left_hip] == "left_hip"


def test_y_points_down_and_nothing_is_mirrored(write):
    joints, written = load_cmu(write()).joints_mm, torch.from_numpy(recording()["joints"])
    torch.testing.assert_close(joints[:, 1], written[:, 2] * torch.tensor([1.0, -1, -1]))


def test_roles(write):
    clips = load_cmu(write())
    assert dict(zip(clips.clip_names, clips.clip_roles, strict=True)) == dict(
        zip(NAMES, ("pairs", "memories", "unlabelled", "memories", "validation", "test"), strict=True)
    )


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.npz: no such file; set AIGN_DATA"):
        load_cmu(tmp_path / "nothing.npz")


@pytest.mark.parametrize("kept", [0, 0.5, 0.99])
def test_a_truncated_file_is_named(kept, write):
    path = write()
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(UserError, match="truncated"):
        load_cmu(path)


@pytest.mark.parametrize(("start", "end"), [(0, 100), (100, 300), (2000, 3000)])
@pytest.mark.parametrize("byte", [0, 255])
def test_a_damaged_file_is_named(start, end, byte, write):
    path = write()
    damaged = bytearray(path.read_bytes())
    damaged[start:end] = bytes([byte] * (end - start))
    path.write_bytes(damaged)
    with pytest.raises(UserError, match="no npz file"):
        load_cmu(path)


def test_an_array_without_columns_is_named(write):
    path = write()
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(UserError, match="no npz file"):
        load_cmu(path)


def test_a_missing_column_is_named(write):
    with pytest.raises(UserError, match="sequence_names"):
        load_cmu(write(sequence_names=None))


def test_another_joint_count_is_refused(write):
    with pytest.raises(UserError, match=r"joints: has the shape .18, 30, 3."):
        load_cmu(write(joints=recording()["joints"][:, :30]))


@pytest.mark.parametrize("joint", ["left_hip", "head", "left_collar_base"])
def test_joints_that_are_no_numbers_are_named_by_clip(joint, write):
    joints = recording()["joints"]
    joints[7, JOINT_NAMES.index(joint), 1] = np.nan
    with pytest.raises(UserError, match=r"wave/2.*1 frames hold NaN"):
        load_cmu(write(joints=joints))


@pytest.mark.parametrize(
    ("replaced", "named"),
    [
        ({"joints": recording()["joints"] > 0}, "joints"),
        ({"joints": np.full((12, 38, 3), "x")}, "joints"),
        ({"joints": recording()["joints"] + 0j}, "joints"),
        ({"joints": recording()["joints"][:0]}, "joints"),
        ({"sequence_start": np.arange(5) * 3.0}, "sequence_start"),
        ({"sequence_start": np.arange(5)[:, None] * 3}, "sequence_start"),
        ({"sequence_start": np.array(0)}, "sequence_start"),
        ({"sequence_start": np.arange(5)[::-1] * 3}, "sequence_start"),
        ({"sequence_start": np.arange(5) * 3 - 3}, "sequence_start"),
        ({"sequence_start": np.arange(5) * 30}, "sequence_start"),
        ({"sequence_start": np.zeros(5, int)}, "sequence_start"),
        ({"sequence_names": np.array([*NAMES, "wave/4"])}, "sequence_start"),
        ({"sequence_names": np.arange(4)}, "sequence_names"),
        ({"parents": np.array(PARENTS[:20])}, "parents"),
        ({"parents": np.array(PARENTS)[:, None]}, "parents"),
    ],
)
def test_a_column_of_another_kind_is_named(replaced, named, write):
    path = write(**replaced)
    with pytest.raises(UserError) as refused:
        load_cmu(path)
    assert refused.value.value == f"{path}: {named}"


@pytest.mark.parametrize("parents", [[*PARENTS[:3], 4, 3, *PARENTS[5:]], [*PARENTS[:37], 99], [-1] * 38])
def test_a_skeleton_that_is_no_tree_is_refused(parents, write):
    with pytest.raises(UserError, match="not a tree"):
        load_cmu(write(parents=np.array(parents)))


@pytest.mark.parametrize("factor", [0, 1e30])
def test_places_where_no_body_can_be_are_refused(factor, write):
    with pytest.raises(UserError):
        load_cmu(write(joints=recording()["joints"] * np.float32(factor)))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "joints_mm.npz")
    with pytest.raises(UserError, match="no such file"):
        load_cmu(tmp_path / "joints_mm.npz")


def test_the_real_recordings():
    root = os.environ.get("AIGN_DATA", "")
    if not Path(root, "cmu_mocap", "joints_mm.npz").is_file():
        pytest.skip("AIGN_DATA names no folder with cmu_mocap/joints_mm.npz")
    clips = load_cmu(data_file("cmu_mocap", "joints_mm.npz"))
    assert clips.skeleton.num_joints == 28
    assert len(clips.clip_names) == 72
    parents, children = zip(*clips.skeleton.bones, strict=True)
    bones_mm = (clips.joints_mm[:, children] - clips.joints_mm[:, parents]).norm(dim=-1)
    assert (bones_mm.amax(0) - bones_mm.amin(0)).max() < 1
    assert bones_mm.min() >= 1
    head, hips = (clips.joints_mm[:, clips.skeleton.joint_names.index(name), 1] for name in ("head", "hips"))
    assert (head < hips).float().mean() > 0.95  # y points down
    clips_of = {role: set(clips.frame_clips[clips.frames(role)].tolist()) for role in ROLES}
    assert sum(len(part) for part in clips_of.values()) == len(set().union(*clips_of.values())) == 72
