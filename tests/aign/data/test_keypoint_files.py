"""A person's own keypoints: both formats, and the mistakes that are named."""

import json
import math
import os

import numpy as np
import pytest
import torch

from aign.data.keypoint_files import TYPICAL_SPREAD, crop_to_person, read_keypoints, write_poses
from aign.errors import UserError
from aign.renderers.camera import centre_and_spread


@pytest.fixture
def keypoints(people):
    return people(3)[..., :2]


def csv_of(keypoints, names):
    header = [f"{name}_{axis}" for name in names for axis in "xy"]
    return "\n".join([",".join(header), *(",".join(map(str, row)) for row in keypoints.flatten(1).tolist())])


@pytest.mark.parametrize("form", ["list", "document", "csv", "csv in another order"])
def test_every_form_reads_the_same(form, keypoints, skeleton, tmp_path):
    names = skeleton.joint_names
    path = tmp_path / ("people.csv" if form.startswith("csv") else "people.json")
    path.write_text(
        {
            "list": json.dumps(keypoints.tolist()),
            "document": json.dumps({"keypoints": keypoints.tolist()}),
            "csv": csv_of(keypoints, names),
            "csv in another order": csv_of(keypoints.flip(1), names[::-1]),
        }[form]
    )
    torch.testing.assert_close(read_keypoints(path, skeleton).keypoints_px, keypoints)


WHOLE = [[10.0 * j + 5, 30.0 - j] for j in range(7)]


def changed(joint, value):
    return [*WHOLE[:joint], value, *WHOLE[joint + 1 :]]


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("a.json", "{", ""),
        ("a.json", "null", ""),
        ("a.json", '{"people": 3}', ""),
        ("a.json", "[" * 50_000, ""),
        ("a.json", b"\xff\xfe", ""),
        ("a.json", "[]", ""),
        ("a.json", "[[1, 2], [3, 4]]", ", person 0"),
        ("a.json", json.dumps([WHOLE, WHOLE[:2]]), ", person 1"),
        ("a.json", json.dumps([WHOLE, changed(3, ["a", 1])]), ", person 1, joint 3"),
        ("a.json", json.dumps([changed(3, [True, 1])]), ", person 0, joint 3"),
        ("a.json", json.dumps([changed(3, [1])]), ", person 0, joint 3"),
        ("a.json", json.dumps([changed(0, [1, 2, 0.9])]), ", person 0, joint 0"),
        ("a.csv", "pelvis_x,pelvis_y\n1,2", ""),
        ("a.csv", "", ""),
    ],
)
def test_mistakes_are_named(name, text, place, skeleton, tmp_path):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as error:
        read_keypoints(tmp_path / name, skeleton)
    assert str(error.value.value) == f"{tmp_path / name}{place}"
    assert "\n" not in str(error.value)


def test_a_third_number_is_told_to_be_a_confidence(skeleton, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([[[*joint, 0.9] for joint in WHOLE]]))
    with pytest.raises(UserError, match="confidence"):
        read_keypoints(tmp_path / "a.json", skeleton)


@pytest.mark.parametrize(
    ("person", "reason"),
    [
        ([[0, 0]] * 7, "nobody was found"),
        ([[300, 200]] * 7, "nobody was found"),
        ([[1e-40 * j, 5] for j in range(7)], "nobody was found"),
        (changed(2, None), "lacks the joint"),
        (changed(2, [None, 3]), "lacks the joint"),
        (changed(2, [math.nan, 3]), "lacks the joint"),
        (changed(2, [10**400, 3]), "lacks the joint"),
        (changed(2, [1e30, 3]), "outside any image"),
        (changed(2, [0, 0]), "at (0, 0)"),
    ],
)
def test_people_who_were_not_found_are_skipped_by_number(person, reason, skeleton, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([WHOLE, person, WHOLE]))
    people = read_keypoints(path, skeleton)
    assert people.numbers == (0, 2)
    assert [skipped.name for skipped in people.skipped] == ["person 1"]
    assert reason in people.skipped[0].reason
    path.write_text(json.dumps([person]))
    with pytest.raises(UserError, match="1 people were skipped"):
        read_keypoints(path, skeleton)


FOREIGN = {
    "OpenPose": {"version": 1.3, "people": [{"pose_keypoints_2d": [1, 2, 0.9] * 25}]},
    "COCO results": [{"image_id": 1, "category_id": 1, "keypoints": [1, 2, 0.9] * 17, "score": 0.9}],
    "COCO annotations": {"images": [], "annotations": [{"keypoints": [1, 2, 2] * 17}]},
    "MMPose": [{"keypoints": [[1, 2]] * 17, "keypoint_scores": [0.9] * 17}],
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_files_of_other_programs_are_named(kind, skeleton, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(FOREIGN[kind]))
    with pytest.raises(UserError, match=f"seems to be {kind}"):
        read_keypoints(tmp_path / "a.json", skeleton)


def test_binary_files_of_other_programs_are_named(skeleton, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 17, 2)))
    np.savez(tmp_path / "b.npz", positions_2d=np.zeros(3))
    (tmp_path / "c.pkl").write_bytes(b"\x80\x04N.")
    for name, kind in (("a.npy", "NumPy"), ("b.npz", "VideoPose3D"), ("c.pkl", "pickle")):
        with pytest.raises(UserError, match=kind):
            read_keypoints(tmp_path / name, skeleton)


def test_a_row_of_a_table_is_named_by_its_number(keypoints, skeleton, tmp_path):
    whole = csv_of(keypoints, skeleton.joint_names)
    last = f"{tmp_path / 'a.csv'}, row 4"
    for text in (whole.rsplit(",", 1)[0], whole.rsplit(",", 1)[0] + ",left", whole + ",7"):
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(UserError) as error:
            read_keypoints(tmp_path / "a.csv", skeleton)
        assert error.value.value == last


def test_a_pipe_is_not_waited_for(skeleton, tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(UserError):
        read_keypoints(tmp_path / "a.json", skeleton)


@pytest.mark.parametrize("name", ["a.json", "x" * 300])
def test_a_missing_file_is_named(name, skeleton, tmp_path):
    with pytest.raises(UserError, match="no such f"):
        read_keypoints(tmp_path / name, skeleton)


def test_crop_makes_people_as_large_and_central_as_in_training(keypoints):
    cropped = crop_to_person(keypoints, 200)
    centre, spread = centre_and_spread(cropped)
    torch.testing.assert_close(centre, torch.full((3, 2), 99.5), atol=1e-3, rtol=0)
    torch.testing.assert_close(spread, torch.full((3,), 200 * TYPICAL_SPREAD))
    torch.testing.assert_close(crop_to_person(5 * keypoints - 80, 200), cropped, atol=1e-2, rtol=0)


def test_poses_are_written_with_their_factors(people, skeleton, tmp_path):
    joints = people(2)
    path = write_poses(tmp_path / "poses.json", joints, {"focal_px": torch.tensor([1.0, 2.0])}, skeleton, (0, 2), 3)
    document = json.loads(path.read_text())
    assert document["joint_names"] == list(skeleton.joint_names)
    first, nobody, last = document["poses"]
    assert (first["focal_px"], nobody, last["focal_px"]) == (1, None, 2)
    torch.testing.assert_close(torch.tensor(last["joints_mm"]), joints[1])
