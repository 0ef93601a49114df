"""A set of images and its table: selections, splits, and what it says about what was left out."""

import numpy as np
import pandas as pd
import pytest
import torch

from aign.data.images import ImageSet, split_by
from aign.data.skipped import Skipped
from aign.errors import UserError


def numbered(splits, **options):
    """Images whose first pixel is their number."""
    count = len(splits)
    pixels = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(count, 3, 2, 2).clone()
    table = pd.DataFrame({"number": range(count), "split": splits})
    return ImageSet(name="numbers", pixels=pixels, table=table, **options)


def numbers(images):
    assert images.pixels[:, 0, 0, 0].tolist() == images.table["number"].tolist()  # rows stay with their images
    assert images.table.index.tolist() == list(range(len(images)))
    return images.table["number"].tolist()


def test_selections_of_selections_keep_images_with_their_rows():
    images = numbered(["train", "test", "train", "train", "test"])
    assert numbers(images.split("train")) == [0, 2, 3]
    assert numbers(images.split("train").where("number > 0")) == [2, 3]
    assert numbers(images.where("number in (4, 1)").split("test")) == [1, 4]
    assert images.where("number > 1").where("number > 2").name == "numbers where number > 1 where number > 2"


def test_a_run_of_rows_is_not_copied():
    images = numbered(["train"] * 6 + ["test"] * 2)
    assert images.split("test").pixels.data_ptr() == images.pixels[6:].data_ptr()


def test_grey_images_are_means_of_colours():
    images = numbered(["train"] * 2)
    images.pixels[1] = torch.tensor([0, 100, 200], dtype=torch.uint8)[:, None, None]
    grey = images.grey()
    assert grey.pixels.shape == (2, 1, 2, 2)
    assert grey.pixels.dtype == torch.uint8
    assert grey.pixels[:, 0, 0, 0].tolist() == [0, 100]
    assert grey.table is images.table


def test_nothing_selected_is_an_error():
    images = numbered(["train"] * 3)
    with pytest.raises(UserError, match="number > 7: selects none of the 3 images of numbers; widen the bias"):
        images.where("number > 7")
    with pytest.raises(UserError, match="holds no image of numbers"):
        images.split("test")
    with pytest.raises(UserError, match="there is no such split; choose one of train, validation, test"):
        images.split("val")


def test_a_table_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="column 'split'"):
        numbered(["train", "elsewhere"])
    with pytest.raises(ValueError, match="3 images, but a table of 2 rows"):
        ImageSet(name="x", pixels=numbered(["train"] * 3).pixels, table=numbered(["train"] * 2).table)


def test_says_what_was_skipped():
    assert numbered(["train"]).warnings == []
    skipped = [
        Skipped(f"{i}.jpg", reason) for i, reason in enumerate(["is empty", "is odd", "is odd", "is far", "is new"])
    ]
    (line,) = numbered(["train"], skipped=tuple(skipped)).warnings
    assert line == "5 files of numbers were skipped: 1.jpg is odd (and 1 more); 0.jpg is empty; 3.jpg is far; ..."


def test_images_that_do_not_fit_are_skipped_by_name():
    images = numbered(["train"] * 3)
    images.table["file"] = ["a.png", "b.png", "c.png"]
    fit = images.fit(np.array([True, False, True]), "is light")
    assert (fit.table["file"].tolist(), fit.skipped) == (["a.png", "c.png"], (Skipped("b.png", "is light"),))
    with pytest.raises(UserError, match=r"a\.png is light \(and 2 more\)"):
        images.fit(np.zeros(3, bool), "is light")


def test_splits_keep_equal_keys_together_and_hardly_change_with_more():
    keys = [number // 4 for number in range(400)]
    splits = dict(zip(keys, split_by(keys), strict=True))
    assert pd.Series(splits).value_counts().to_dict() == {"train": 80, "validation": 10, "test": 10}
    more = dict(zip(range(105), split_by(range(105)), strict=True))
    assert sum(more[key] != split for key, split in splits.items()) <= 4
    assert sorted(split_by("abc")) == ["test", "train", "validation"]
    assert split_by("ab") == ["train", "train"]
