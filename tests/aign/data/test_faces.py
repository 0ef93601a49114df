"""Generated faces: the same for every count, attributes that are independent, not in one pixel, and readable."""

import numpy as np
import pytest
import torch

from aign.data.faces import ATTRIBUTES, NUM_PEOPLE, generated_faces
from aign.data.images import LANDMARKS


@pytest.fixture(scope="module")
def faces():
    return generated_faces(3000, seed=1, size=32)


def signs(faces, names):
    return torch.tensor(faces.table[list(names)].to_numpy(), dtype=torch.float32)


def test_a_face_depends_on_the_seed_and_its_place_alone():
    few, many, other = generated_faces(37, 3, 33), generated_faces(70, 3, 33), generated_faces(37, 4, 33)
    assert torch.equal(few.pixels, many.pixels[:37])
    assert few.table.equals(many.table.head(37))
    assert (few.pixels != other.pixels).float().mean() > 0.5
    assert len(generated_faces(0, 3).pixels) == 0


def test_every_split_and_attribute_is_there_even_in_a_small_set():
    small = generated_faces(60, 0, 16)
    assert set(small.table["split"]) == {"train", "validation", "test"}
    assert all(set(small.table[name]) == {-1, 1} for name in [*ATTRIBUTES, "Dark_Hair"])


def test_splits_share_no_person(faces):
    people = faces.table.groupby("split")["identity"].agg(set)
    assert not people["train"] & people["test"]
    assert not people["train"] & people["validation"]
    assert not people["test"] & people["validation"]
    assert len(people["train"]) == 0.8 * NUM_PEOPLE
    assert faces.table["identity"].value_counts().unique().tolist() == [len(faces) // NUM_PEOPLE]


def test_old_faces_are_those_of_old_people(faces):
    assert faces.where("Old == 1").table["age"].min() >= 55
    assert faces.where("Old == -1").table["age"].max() <= 40


def test_attributes_are_independent(faces):
    names = [*ATTRIBUTES, "Dark_Hair"]
    together = np.corrcoef(faces.table[names].to_numpy().T) - np.eye(len(names))
    assert np.abs(together).max() < 4 / len(faces) ** 0.5  # four standard deviations of chance
    by_split = [faces.split(split).table[list(ATTRIBUTES)].mean() for split in ("train", "test")]
    assert (by_split[0] - by_split[1]).abs().max() < 0.25


def test_no_attribute_is_in_one_pixel(faces):
    pixels, has = faces.pixels.flatten(1), signs(faces, ATTRIBUTES) > 0
    yes, no = (which / which.sum(0) for which in (has.float(), (~has).float()))
    best = torch.zeros(len(ATTRIBUTES))
    for threshold in range(8, 256, 8):
        below = (pixels < threshold).float()
        best = best.maximum((yes.T @ below - no.T @ below).abs().amax(1))
    balanced_accuracy = 0.5 + best / 2
    assert balanced_accuracy.max() < 0.8, dict(zip(ATTRIBUTES, balanced_accuracy.tolist(), strict=True))


def test_all_pixels_together_tell_the_attributes_of_unseen_people(faces):
    names = [*ATTRIBUTES, "Dark_Hair"]
    train = torch.tensor((faces.table["split"] == "train").to_numpy())
    images, has = faces.pixels.flatten(1).float() / 255, signs(faces, names)
    seen, unseen = images[train] - images[train].mean(0), images[~train] - images[train].mean(0)
    dual = torch.linalg.solve(seen @ seen.T + 30 * torch.eye(len(seen)), has[train])  # ridge regression
    right = ((unseen @ seen.T @ dual > 0) == (has[~train] > 0)).float().mean(0)
    assert right.min() > 0.7, dict(zip(names, right.tolist(), strict=True))
    assert right.mean() > 0.8


def test_landmarks_are_where_the_features_are():
    faces = generated_faces(300, seed=0, size=64).where("Glasses == -1 and Beard == -1 and Smiling == -1")
    image = faces.pixels.float()
    places = {name: faces.table[[f"{name}_x", f"{name}_y"]].to_numpy() for name in LANDMARKS}
    assert all(place.min() > 3 and place.max() < 60 for place in places.values())

    def patches(place, reach):
        """(faces, 3, n, n) pixels around a place."""
        x, y = torch.tensor(place).round().long().T
        span = torch.arange(-reach, reach + 1)
        rows, columns = y[:, None, None] + span[:, None], x[:, None, None] + span
        return image[torch.arange(len(image))[:, None, None], :, rows, columns].permute(0, 3, 1, 2)

    between_eyes = patches((places["lefteye"] + places["righteye"]) / 2, 0).mean((1, 2, 3))
    for eye in ("lefteye", "righteye"):  # a pupil is darker than skin
        assert (patches(places[eye], 2).mean(1).amin((1, 2)) < 0.7 * between_eyes).float().mean() > 0.95
    mouth = patches((places["leftmouth"] + places["rightmouth"]) / 2, 1).mean((2, 3))
    nose = patches(places["nose"], 1).mean((2, 3))
    share_of_red = [colour[:, 0] / colour.sum(1) for colour in (mouth, nose)]
    assert (share_of_red[0] > share_of_red[1]).float().mean() > 0.95


def test_many_faces_are_drawn_at_any_size():
    for size in (28, 100):
        assert generated_faces(3, 0, size).pixels.shape == (3, 3, size, size)
    large, small = generated_faces(8, 0, 128), generated_faces(8, 0, 64)
    shrunk = torch.nn.functional.avg_pool2d(large.pixels.float(), 2)
    assert (shrunk - small.pixels.float()).abs().mean() < 4  # the same faces
