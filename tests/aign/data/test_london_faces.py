"""The London faces: where they are, and what is said when they are not."""

import os

import pytest

from aign.data.london_faces import load_london_faces
from aign.errors import UserError

REAL = pytest.mark.skipif("AIGN_DATA" not in os.environ, reason="AIGN_DATA is not set: no London faces to read")


@REAL
def test_reads_two_images_of_each_person():
    images = load_london_faces(size=64, strict=True)
    assert images.pixels.shape == (204, 3, 64, 64)
    assert len(images.where("Male == 1")) == 2 * 53
    assert (
        images.where("Smiling == 1").table["identity"].tolist()
        == images.where("Smiling == -1").table["identity"].tolist()
    )
    assert images.table.groupby("identity")["split"].nunique().max() == 1
    assert len(images.where("age < 200")) == 200  # two people told no age
    assert 0.3 < images.pixels.float().mean() / 255 < 0.8


@REAL
def test_landmarks_are_where_the_features_are():
    images = load_london_faces(size=64).where("nose_x > 0")
    assert len(images) == 102
    table = images.table
    assert (table["lefteye_x"] + 8 < table["righteye_x"]).all()
    assert (table["lefteye_y"] + 4 < table["nose_y"]).all()
    assert (table["nose_y"] < table["leftmouth_y"]).all()
    dark = [
        image[:, round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3].float().mean(0).min()
        < image[:, round(nose) - 8, round(x)].float().mean()
        for image, x, y, nose in zip(
            images.pixels, table["lefteye_x"], table["lefteye_y"], table["nose_y"], strict=True
        )
    ]
    assert sum(dark) > 95  # a pupil is darker than a cheek


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"x": b""}, r"attributes\.csv: no such file"),
        ({"attributes.csv": b"face_id,face_age\n001,3\n"}, r"attributes\.csv: Usecols"),
        ({"attributes.csv": b"face_id,face_age,face_gender,face_eth\n001,3,male,x\n"}, "landmarks_neutral_front"),
    ],
)
def test_says_what_is_wrong(tmp_path, monkeypatch, files, reason):
    monkeypatch.setenv("AIGN_DATA", str(tmp_path))
    with pytest.raises(UserError, match="faces_london"):
        load_london_faces()
    (tmp_path / "faces_london").mkdir()
    for name, content in files.items():
        (tmp_path / "faces_london" / name).write_bytes(content)
    with pytest.raises(UserError, match=reason):
        load_london_faces()
