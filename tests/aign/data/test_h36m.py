"""Human3.6M from a tiny file in the shared layout, which these tests write."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from aign.data.h36m import KEPT_JOINTS, SKELETON, SUBJECT_ROLES, convert, load_h36m, main
from aign.data.motion import ROLES
from aign.errors import UserError

FRAMES = 10


def recordings(**replaced):
    rng = np.random.default_rng(0)
    actions = ("Walking", "Walking 1", "Sitting Down 2")
    made = {
        subject: {action: rng.normal(size=(FRAMES, 32, 3)).astype(np.float32) for action in actions}
        for subject in SUBJECT_ROLES
    }
    return {subject: clips for subject, clips in (made | replaced).items() if clips is not None}


def pickled(path, content):
    np.savez_compressed(path, positions_3d=np.array(content, dtype=object))
    return path


@pytest.fixture
def plain(tmp_path):
    convert(pickled(tmp_path / "data_3d_h36m.npz", recordings()), tmp_path / "h36m" / "plain.npz")
    return tmp_path / "h36m" / "plain.npz"


def test_converted_file_holds_plain_arrays_as_recorded(plain):
    with np.load(plain, allow_pickle=False) as file:
        assert len(file.files) == 21
        assert np.array_equal(file["S9/Walking 1"], recordings()["S9"]["Walking 1"])
    assert [path.name for path in plain.parent.iterdir()] == ["plain.npz"]


def test_every_third_frame_in_mm_with_y_down(plain):
    clips = load_h36m(plain)
    assert clips.joints_mm.shape == (21 * 4, 17, 3)
    clip = clips.joints_mm[clips.frame_clips == clips.clip_names.index("S9/Walking 1")]
    x, y, z = np.moveaxis(recordings()["S9"]["Walking 1"][[0, 3, 6, 9]][:, list(KEPT_JOINTS)], -1, 0)
    # Up, the recording's +z, is -y of ours; what the recording calls +y is in front.
    torch.testing.assert_close(clip, torch.from_numpy(np.stack([x, -z, y], -1) * 1000))


def test_the_change_of_world_is_a_rotation_not_a_mirror(tmp_path):
    axes = np.zeros((3, 32, 3), np.float32)
    axes[0, 1:4] = np.eye(3)
    convert(pickled(tmp_path / "in.npz", recordings(S1={"Axes": axes})), tmp_path / "out.npz")
    clips = load_h36m(tmp_path / "out.npz")
    images = clips.joints_mm[clips.frame_clips == clips.clip_names.index("S1/Axes")][0, 1:4] / 1000
    # Joints 1, 2, 3 were unit vectors; the last kept of them is the fourth joint.
    torch.testing.assert_close(torch.linalg.det(images), torch.tensor(1.0))


def test_the_17_joints_form_the_tree_that_papers_use():
    assert KEPT_JOINTS == (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
    names = SKELETON.joint_names
    assert len(set(names)) == 17
    parent_of = {names[child]: names[parent] for parent, child in SKELETON.bones}
    assert parent_of["left_shoulder"] == parent_of["right_shoulder"] == parent_of["neck"] == "thorax"
    for side in ("left", "right"):
        assert [parent_of[f"{side}_{n}"] for n in ("wrist", "elbow")] == [f"{side}_elbow", f"{side}_shoulder"]
        assert [parent_of[f"{side}_{n}"] for n in ("ankle", "knee", "hip")] == [
            f"{side}_knee",
            f"{side}_hip",
            "pelvis",
        ]
    reached = {SKELETON.root}
    for parent, child in SKELETON.bones:
        assert parent in reached
        reached.add(child)
    assert len(reached) == 17


def test_roles_go_by_subject_and_no_subject_plays_two(plain):
    clips = load_h36m(plain)
    subjects = {
        role: {n.split("/")[0] for n, r in zip(clips.clip_names, clips.clip_roles, strict=True) if r == role}
        for role in ROLES
    }
    measured = {"S9", "S11"}
    assert subjects == {
        **{"pairs": {"S1", "S5"}, "memories": {"S6", "S7"}},
        **{"unlabelled": measured, "validation": {"S8"}, "test": measured},
    }


def test_of_those_who_are_measured_the_first_take_of_each_action_is_unlabelled_input(plain):
    clips = load_h36m(plain)
    roles = dict(zip(clips.clip_names, clips.clip_roles, strict=True))
    assert {name: role for name, role in roles.items() if name.startswith("S9/")} == {
        "S9/Walking": "unlabelled",
        "S9/Walking 1": "test",
        "S9/Sitting Down 2": "unlabelled",
    }


def test_actions_lose_their_take_number_only(plain):
    assert load_h36m(plain).actions == ("Sitting Down", "Walking")


def test_subjects_beyond_the_seven_are_left_out(tmp_path):
    convert(pickled(tmp_path / "in.npz", recordings(S2={"Walking": np.ones((3, 32, 3))})), tmp_path / "out.npz")
    assert not [name for name in load_h36m(tmp_path / "out.npz").clip_names if name.startswith("S2/")]


def test_a_missing_file_is_refused_with_the_way_to_make_it(tmp_path):
    with pytest.raises(UserError, match=r"no such file.*AIGN_DATA/h36m/.*aign\.data\.h36m convert"):
        load_h36m(tmp_path / "none.npz")
    with pytest.raises(UserError, match="no such file"):
        convert(tmp_path / "none.npz", tmp_path / "out.npz")


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the file's code ran",))


@pytest.mark.parametrize("key", ["positions_3d", "S1/Walking"])
def test_pickled_content_is_refused_and_never_run(tmp_path, key):
    np.savez(tmp_path / "bomb.npz", **{key: np.array(_Bomb(), dtype=object)})
    with pytest.raises(UserError, match=r"pickle.*convert"):
        load_h36m(tmp_path / "bomb.npz")


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(plain, tmp_path, kept):
    content = plain.read_bytes()
    cut = tmp_path / "cut.npz"
    cut.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match=r"truncated.*convert"):
        load_h36m(cut)
    with pytest.raises(UserError, match="again"):
        convert(cut, tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


def test_damage_inside_the_file_is_refused(plain):
    content = bytearray(plain.read_bytes())
    content[len(content) // 2] ^= 0xFF
    plain.write_bytes(content)
    with pytest.raises(UserError, match="truncated"):
        load_h36m(plain)


def test_a_bare_array_is_refused(tmp_path):
    np.save(tmp_path / "bare.npy", np.zeros(3))
    with pytest.raises(UserError, match="no npz file"):
        load_h36m(tmp_path / "bare.npy")


@pytest.mark.parametrize("shape", [(5, 17, 3), (5, 32, 2), (0, 32, 3), (32, 3)])
def test_wrong_shapes_are_refused_naming_the_clip(tmp_path, shape):
    source = pickled(tmp_path / "in.npz", recordings(S7={"Eating 1": np.zeros(shape)}))
    with pytest.raises(UserError, match="S7/Eating 1: has the shape"):
        convert(source, tmp_path / "out.npz")
    arrays = {f"{s}/Walking": np.ones((3, 32, 3)) for s in SUBJECT_ROLES} | {"S7/Eating 1": np.zeros(shape)}
    np.savez(tmp_path / "plain.npz", **arrays)
    with pytest.raises(UserError, match="S7/Eating 1: has the shape"):
        load_h36m(tmp_path / "plain.npz")


def test_missing_subjects_are_named(tmp_path):
    convert(pickled(tmp_path / "in.npz", recordings(S5=None, S11=None)), tmp_path / "out.npz")
    with pytest.raises(UserError, match="S5, S11"):
        load_h36m(tmp_path / "out.npz")


def test_a_file_of_another_layout_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", positions_2d=np.zeros(3))
    with pytest.raises(UserError, match="positions_3d"):
        convert(tmp_path / "other.npz", tmp_path / "out.npz")
    with pytest.raises(UserError, match="S1"):
        load_h36m(tmp_path / "other.npz")
    with pytest.raises(UserError, match="positions_3d"):
        convert(pickled(tmp_path / "list.npz", [1, 2]), tmp_path / "out.npz")


def test_the_command_converts_only_what_is_trusted(tmp_path, capsys):
    source, out = pickled(tmp_path / "in.npz", recordings()), tmp_path / "out.npz"
    with pytest.raises(SystemExit) as refusal:
        main(["convert", str(source), str(out)])
    assert refusal.value.code == 2
    assert "--i-trust-this-file" in capsys.readouterr().err
    assert not out.exists()
    assert main(["convert", str(tmp_path / "none.npz"), str(out), "--i-trust-this-file"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    command = [sys.executable, "-m", "aign.data.h36m", "convert", str(source), str(out), "--i-trust-this-file"]
    assert subprocess.run(command, check=False).returncode == 0
    assert len(load_h36m(out).clip_names) == 21
