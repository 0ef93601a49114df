"""A person's own keypoints: both formats, and the mistakes that are named."""

import json
import math

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
    torch.testing.assert_close(read_keypoints(path, skeleton), keypoints)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.json", "{", "not a file of keypoints"),
        ("a.json", "null", "not a file of keypoints"),
        ("a.json", '{"people": 3}', "not a file of keypoints"),
        ("a.json", '[[["a", 1]]]', "not a file of keypoints"),
        ("a.json", "[[[1, 2], [3]]]", "not a file of keypoints"),
        ("a.json", "[]", "expected"),
        ("a.json", "[[[1, 2], [3, 4]]]", r"\(1, 2, 2\), expected \(people, 7, 2\)"),
        ("a.json", json.dumps([[[math.nan, 1]] * 7]), "person 0 are NaN"),
        ("a.csv", "pelvis_x,pelvis_y\n1,2", "column left_hip_x is missing"),
        ("a.csv", "", "column pelvis_x is missing"),
    ],
)
def test_mistakes_are_named(name, text, reason, skeleton, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=reason):
        read_keypoints(tmp_path / name, skeleton)


def test_a_csv_row_that_ends_early_or_holds_words_is_named(keypoints, skeleton, tmp_path):
    whole = csv_of(keypoints, skeleton.joint_names)
    for text in (whole.rsplit(",", 1)[0], whole.rsplit(",", 1)[0] + ",left"):
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(UserError, match="not a file of keypoints"):
            read_keypoints(tmp_path / "a.csv", skeleton)


def test_a_missing_file_is_named(skeleton, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_keypoints(tmp_path / "a.json", skeleton)


def test_crop_makes_people_as_large_and_central_as_in_training(keypoints):
    cropped = crop_to_person(keypoints, 200)
    centre, spread = centre_and_spread(cropped)
    torch.testing.assert_close(centre, torch.full((3, 2), 99.5), atol=1e-3, rtol=0)
    torch.testing.assert_close(spread, torch.full((3,), 200 * TYPICAL_SPREAD))
    torch.testing.assert_close(crop_to_person(5 * keypoints - 80, 200), cropped, atol=1e-2, rtol=0)


def test_poses_are_written_with_their_factors(people, skeleton, tmp_path):
    joints = people(2)
    path = write_poses(tmp_path / "poses.json", joints, {"focal_px": torch.tensor([1.0, 2.0])}, skeleton)
    document = json.loads(path.read_text())
    assert document["joint_names"] == list(skeleton.joint_names)
    assert [pose["focal_px"] for pose in document["poses"]] == [1, 2]
    torch.testing.assert_close(torch.tensor(document["poses"][1]["joints_mm"]), joints[1])
