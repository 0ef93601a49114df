"""Anybody's folder of images, with a table and without one."""

import boto3
import pytest
import torch

from aign.data.image_folders import load_image_folder
from aign.errors import UserError


@pytest.fixture
def folder(tmp_path, dotted):
    """Ten images in two folders, and files that are no images."""
    place = tmp_path / "photos"
    for number in range(10):
        inner = place / ("cats" if number < 5 else "dogs")
        inner.mkdir(parents=True, exist_ok=True)
        (inner / f"{number}.{'JPG' if number % 2 else 'png'}").write_bytes(
            dotted(60, 50, (30, 25), kind="JPEG" if number % 2 else "PNG")
        )
    (place / "notes.txt").write_text("hello")
    return place


def test_without_a_table_all_images_are_taken(folder):
    images = load_image_folder(folder, size=16)
    assert images.pixels.shape == (10, 3, 16, 16)
    assert len(images.where("folder == 'cats'")) == 5
    assert images.table["split"].value_counts().to_dict() == {"train": 8, "validation": 1, "test": 1}
    assert images.warnings == []


def test_a_table_says_which_images_and_what_they_are(folder):
    (folder / "attributes.csv").write_text(
        "file,Smiling,identity,nose_x,nose_y,mood\ndogs/7.JPG,1,3,30,25,glad\ncats/0.png,-1,3,30,25,\ncats/1.JPG,-1,4,30,25,so\n"
        "cats/2.png,1,5,30,25,x\n",
        encoding="utf-8-sig",
    )
    images = load_image_folder(folder, size=25)
    assert images.table["file"].tolist() == ["dogs/7.JPG", "cats/0.png", "cats/1.JPG", "cats/2.png"]
    assert images.where("Smiling == 1 and mood == 'glad'").table["identity"].tolist() == [3]
    assert images.table["split"][0] == images.table["split"][1]  # one identity
    assert set(images.table["split"]) == {"train", "validation", "test"}
    assert images.table["nose_x"][0] == pytest.approx((30 - 5 + 0.5) / 2 - 0.5)
    assert (images.pixels[:, 0, 12, 12] > 200).all()


def test_splits_of_the_table_are_kept(folder):
    (folder / "mine.csv").write_text("file,split\ncats/0.png,test\ncats/1.JPG,train\n")
    assert load_image_folder(folder, size=8, table="mine.csv").table["split"].tolist() == ["test", "train"]


def test_broken_and_missing_images_are_skipped(folder):
    (folder / "cats" / "0.png").write_bytes(b"no image")
    (folder / "attributes.csv").write_text("file\ncats/0.png\ncats/1.JPG\ncats/9.png\n")
    images = load_image_folder(folder, size=8)
    assert [name for name, _ in images.skipped] == ["cats/0.png", "cats/9.png"]
    assert images.table["file"].tolist() == ["cats/1.JPG"]
    with pytest.raises(UserError, match=r"cats/0\.png: is no image.*2 of 3 files"):
        load_image_folder(folder, size=8, strict=True)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("name,x\ncats/0.png,1\n", "has no column 'file', only name, x"),
        ("file,x\ncats/0.png,1\n,2\n", "has no file for image 2"),
        ("file\ncats/0.png\ncats/0.png\n", r"cats/0\.png: is named in two rows"),
        ("file,split\ncats/0.png,valid\n", "the column 'split' holds 'valid'; use train, validation, test"),
        ("file,nose_x\ncats/0.png,left\n", "the column 'nose_x'"),
        ("file,nose_x\ncats/0.png,inf\n", "the column 'nose_x'"),
        ("", "is not a CSV table"),
        ('file,x\n"cats', "is not a CSV table"),
        ("file\nnowhere.png\n", "none of 1 files can be read as an image"),
    ],
)
def test_says_what_is_wrong_with_a_table(folder, table, reason):
    (folder / "attributes.csv").write_text(table)
    with pytest.raises(UserError, match=reason) as error:
        load_image_folder(folder, size=8)
    assert "\n" not in str(error.value)


def test_says_what_is_missing(folder, tmp_path):
    with pytest.raises(UserError, match=r"mine\.csv: no such file"):
        load_image_folder(folder, table="mine.csv")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").touch()
    with pytest.raises(UserError, match="holds no images"):
        load_image_folder(tmp_path / "texts")


def test_a_store_gives_the_same_images(folder, object_store, tmp_path):
    local = load_image_folder(folder, size=16)
    for path in local.table["file"]:
        boto3.client("s3").upload_file(str(folder / path), "aign-test", f"{tmp_path.name}/{path}")
    stored = load_image_folder(f"{object_store.bucket}/{tmp_path.name}", size=16)
    assert torch.equal(stored.pixels, local.pixels)
    assert stored.table.equals(local.table)
