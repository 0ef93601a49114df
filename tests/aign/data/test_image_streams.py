"""Image streams and memories: the batch belongs to seed and step, whoever asks for it; bytes become [0, 1]."""

import pandas as pd
import pytest
import torch

from aign.data.faces import generated_faces
from aign.data.image_streams import ImageStream, image_memory, numbers_of, shifted
from aign.data.images import ImageSet
from aign.data.streams import ALONE, Stream, draw
from aign.errors import UserError


@pytest.fixture(scope="module")
def faces():
    return generated_faces(240, 0, 16)


def masked(known, random):
    """The image without a column of pixels, and where the nose is."""
    mask = (torch.arange(16) != (16 * random[:, :1]).long())[:, None, None, :].float()
    return {"image": known["image"] * mask, "mask": mask, "nose_x": known["nose_x"]}


def batch(stream, *, seed=0, step=0, worker=ALONE):
    return draw("images", stream, 16, seed=seed, step=step, worker=worker)


def test_an_image_is_observed_as_it_is(faces):
    stream = ImageStream(faces)
    assert isinstance(stream, Stream)
    sample = batch(stream)
    assert set(sample) == {"observed"}
    assert sample["observed"]["image"].shape == (16, 3, 16, 16)
    whole = faces.pixels.float() / 255
    assert all((whole == image).flatten(1).all(1).any() for image in sample["observed"]["image"])


def test_what_is_observed_follows_images_numbers_and_random_numbers(faces):
    sample = batch(ImageStream(faces, columns=("nose_x",), observe=masked, num_random=1, labelled=True))
    observed, truth = sample["observed"], sample["truth"]["image"]
    assert torch.equal(sample["truth"]["nose_x"], observed["nose_x"])
    torch.testing.assert_close(observed["image"], truth * observed["mask"])
    assert (observed["mask"] == 0).sum((1, 2, 3)).unique().tolist() == [1]
    for image, nose in zip(truth, observed["nose_x"], strict=True):
        row = ((faces.pixels.float() / 255 - image).abs().amax((1, 2, 3))).argmin().item()
        assert faces.table["nose_x"][row] == pytest.approx(nose.item())


def test_workers_slices_together_are_the_batch(faces, shares):
    stream = ImageStream(faces, columns=("nose_x",), observe=masked, num_random=1, num_noise=5)
    parts = [batch(stream, step=2, worker=share)["observed"] for share in shares]
    for name, whole in batch(stream, step=2)["observed"].items():
        assert torch.equal(torch.cat([part[name] for part in parts]), whole)


def test_noise_is_normal_and_the_steps_own(faces):
    stream = ImageStream(faces, num_noise=500)
    noise = batch(stream)["observed"]["noise"]
    assert noise.shape == (16, 500)
    assert (noise.mean().abs().item(), noise.std().item()) == pytest.approx((0, 1), abs=0.05)
    assert torch.equal(noise, batch(stream)["observed"]["noise"])
    assert not torch.equal(noise, batch(stream, step=1)["observed"]["noise"])


def test_images_are_moved_as_their_random_numbers_say():
    images = torch.zeros(4, 2, 5, 7)
    images[:, :, 2, 3] = torch.tensor([1.0, 2.0])
    random = torch.tensor([[0.0, 0.0], [0.5, 0.5], [0.99, 0.0], [0.3, 0.7]])
    moved = shifted(images, random, 2)
    places = [(4, 5), (2, 3), (0, 5), (3, 2)]
    for image, (row, column) in zip(moved, places, strict=True):
        expected = torch.zeros(2, 5, 7)
        expected[:, row, column] = torch.tensor([1.0, 2.0])
        assert torch.equal(image, expected)
    assert torch.equal(shifted(images, random, 0), images)


def test_all_moves_are_equally_frequent(rng):
    images = torch.zeros(9000, 1, 3, 3)
    images[:, :, 1, 1] = 1.0
    torch.testing.assert_close(
        shifted(images, torch.rand(9000, 2, generator=rng), 1).mean((0, 1)),
        torch.full((3, 3), 1 / 9),
        atol=0.02,
        rtol=0,
    )


def test_a_fixed_sample_is_spread_over_the_set(faces):
    stream = ImageStream(faces, columns=("nose_x",), observe=masked, num_random=1, labelled=True)
    sample = stream.fixed(3)
    assert torch.equal(sample["truth"]["image"], faces.pixels[[0, 120, 239]].float() / 255)
    assert torch.equal(sample["observed"]["mask"], stream.fixed(3)["observed"]["mask"])
    assert len(stream.fixed(1000)["truth"]["image"]) == len(faces)


def test_a_biased_memory_remembers_what_the_bias_says(faces):
    memory = image_memory(faces, bias="Old == 1 and Beard == -1")
    assert memory.bias == "Old == 1 and Beard == -1"
    assert len(memory) == ((faces.table["Old"] == 1) & (faces.table["Beard"] == -1)).sum()
    remembered = draw("memory", memory, 8, seed=0, step=0)["factors"]["image"]
    old = faces.where("Old == 1 and Beard == -1").pixels.float() / 255
    assert all((old == image).flatten(1).all(1).any() for image in remembered)
    assert image_memory(faces).bias == "generated faces"
    assert len(image_memory(faces)) == len(faces)


def test_a_bias_that_leaves_too_few_is_an_error(faces):
    with pytest.raises(UserError, match="identity == 3: selects 2 memories, at least 16 are needed; widen the bias"):
        image_memory(faces, bias="identity == 3")
    with pytest.raises(UserError, match="selects none"):
        image_memory(faces, bias="identity == 1000")


def test_columns_must_hold_a_number_for_every_image():
    table = pd.DataFrame({"age": [3.0, None], "mood": ["a", "b"], "split": ["train", "train"]})
    images = ImageSet(name="two", pixels=torch.zeros(2, 3, 4, 4, dtype=torch.uint8), table=table)
    for column, reason in (
        ("age", "lacks 1 of 2 numbers"),
        ("mood", "holds no numbers"),
        ("x", "has none of this name"),
    ):
        with pytest.raises(UserError, match=reason):
            numbers_of(images, [column], "cpu")
