"""Which images are inputs, memories and test images: of different people, whatever the bias."""

import gzip

import numpy as np
import pytest

from aign.data.faces import generated_faces
from aign.data.image_splits import NUM_FOR_JUDGE, ImageOptions, choose, judge_training_images, with_numbers
from aign.data.images import ImageSet
from aign.errors import UserError


@pytest.fixture(scope="module")
def faces():
    return generated_faces(400, 0, 8)


def people(images):
    return set(images.table["identity"])


def test_inputs_memories_and_test_images_are_of_different_people(faces):
    chosen = choose(faces, "")
    parts = [people(part) for part in (chosen.inputs, chosen.memories, chosen.test, chosen.validation)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 200
    assert len(parts[0]) == len(parts[1]) == 80
    for part in (chosen.inputs, chosen.memories):
        assert (
            (part.pixels == faces.pixels[(faces.table["identity"] == part.table["identity"][0]).argmax()])
            .flatten(1)
            .all(1)
            .any()
        )


def test_a_bias_towards_one_person_finds_the_half_with_that_person(faces):
    many = generated_faces(200 * 20, 0, 4)
    for person in (0, 1, 9, 11):
        chosen = choose(many, f"identity == {person}")
        assert person in people(chosen.memories)
        assert person not in people(chosen.inputs)


def test_without_identities_every_image_is_its_own(faces):
    table = faces.table.drop(columns="identity")
    chosen = choose(ImageSet(name="images", pixels=faces.pixels, table=table), "")
    assert len(chosen.inputs) == len(chosen.memories) == 160
    assert (chosen.inputs.table["nose_x"].isin(chosen.memories.table["nose_x"])).sum() == 0


def test_one_person_alone_cannot_be_input_and_memory(faces):
    table = faces.table.assign(identity=1)
    with pytest.raises(UserError, match="shows one person only"):
        choose(ImageSet(name="images", pixels=faces.pixels, table=table), "")


def test_images_without_the_landmarks_are_left_out_and_none_at_all_is_an_error(faces):
    table = faces.table.copy()
    table.loc[:99, "nose_x"] = np.nan
    some = ImageSet(name="images", pixels=faces.pixels, table=table)
    assert len(with_numbers(some, ("nose_x", "nose_y"))) == 300
    assert with_numbers(some, ("nose_y",)) is some
    with pytest.raises(UserError, match="images: have no ear_x; give a table with landmarks, or hide a box"):
        with_numbers(some, ("ear_x",))


def test_digits_are_read_whole_and_keep_their_labels(tmp_path, monkeypatch, rng):
    monkeypatch.setenv("AIGN_DATA", str(tmp_path))
    monkeypatch.setattr("aign.data.image_splits.NUM_DIGITS", {"train": 30, "test": 10})
    monkeypatch.setitem(NUM_FOR_JUDGE, "mnist", 10)
    (tmp_path / "mnist").mkdir()
    source = np.random.default_rng(0)
    for split, count in (("train", 40), ("t10k", 20)):
        for kind, values in (
            ("images-idx3", source.integers(0, 256, (count, 28, 28))),
            ("labels-idx1", source.integers(0, 10, count)),
        ):
            head = bytes([0, 0, 8, values.ndim]) + b"".join(side.to_bytes(4, "big") for side in values.shape)
            content = head + values.astype(np.uint8).tobytes()
            (tmp_path / "mnist" / f"{split}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
    digits = ImageOptions(data="mnist").load()
    assert digits.pixels.shape == (40, 1, 28, 28)
    assert digits.table["split"].value_counts().to_dict() == {"train": 30, "validation": 5, "test": 5}
    assert digits.table["label"].between(0, 9).all()
    unread = judge_training_images("mnist", choose(digits, "")).pixels
    assert len(unread) == 10
    assert not (unread[:, None] == digits.pixels[:30]).flatten(2).all(2).any()


def test_a_folder_is_the_same_one_for_workers_which_stand_in_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ImageOptions(data="folder", source="photos").source == str(tmp_path / "photos")
    assert ImageOptions(data="folder", source="s3://bucket/photos").source == "s3://bucket/photos"
    assert ImageOptions().source == ""
