"""Images of ten kinds: files in MNIST's layout that these tests write, scribbles, and MNIST where it is."""

import gzip
import os

import pytest
import torch

from aign.data.digits import Digits, digit_set, generated_digits, load_digits, read_idx
from aign.errors import UserError

REAL = pytest.mark.skipif("AIGN_DATA" not in os.environ, reason="AIGN_DATA is not set: no real digits to read")


def idx(shape, values):
    sizes = b"".join(size.to_bytes(4, "big") for size in shape)
    return b"\0\0\x08" + bytes([len(shape)]) + sizes + bytes(values)


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    """Writes a test split of three images, or what replaces it, where AIGN_DATA points to."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    monkeypatch.setenv("AIGN_DATA", str(tmp_path))

    def write(images=None, labels=None):
        images = images or idx((3, 28, 28), [i % 256 for i in range(3 * 784)])
        labels = labels or idx((3,), [7, 0, 9])
        for name, content in (("images-idx3", images), ("labels-idx1", labels)):
            (folder / f"t10k-{name}-ubyte.gz").write_bytes(gzip.compress(content))
        return folder

    return write


def test_reads_bytes_in_their_shape(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(idx((2, 3), range(6))))
    assert read_idx(path).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_draws_images_with_their_labels(mnist):
    mnist()
    digits = load_digits("test", 3, seed=0)
    first_pixels = {7: 0, 0: 784 % 256, 9: 1568 % 256}
    for image, label in zip(digits.images, digits.labels.tolist(), strict=True):
        assert image[0, 0].item() == pytest.approx(first_pixels[label] / 255)
    assert digits.images.max() <= 1


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"images": b"no idx"}, "not an idx file"),
        ({"images": idx((3, 28, 28), [0] * 784)}, "holds 784 of 2352 values"),
        ({"images": idx((3, 27, 28), [0] * 3 * 27 * 28)}, r"images have shape \(3, 27, 28\)"),
        ({"labels": idx((2,), [1, 2])}, "not 3 labels from 0 to 9"),
        ({"labels": idx((3,), [1, 2, 10])}, "not 3 labels from 0 to 9"),
    ],
)
def test_says_what_is_wrong_with_a_file(mnist, files, reason):
    mnist(**files)
    with pytest.raises(UserError, match=reason):
        load_digits("test", 1, seed=0)


def test_says_what_is_missing(mnist):
    folder = mnist()
    with pytest.raises(UserError, match="the test split has 3"):
        load_digits("test", 4, seed=0)
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="not a readable gzip file"):
        load_digits("test", 1, seed=0)
    path.unlink()
    with pytest.raises(UserError, match="no such file"):
        load_digits("test", 1, seed=0)
    with pytest.raises(UserError, match="no such file"):
        read_idx(path)


def test_digits_become_one_set_of_images_with_labels_and_splits():
    first, second = Digits("a", torch.rand(2, 28, 28), torch.tensor([3, 1])), generated_digits(1, 0)
    images = digit_set("some", [first, second], ["train", "test", "train"])
    assert images.pixels.shape == (3, 1, 28, 28)
    torch.testing.assert_close(images.pixels[:2, 0] / 255, first.images, atol=0.5 / 255 + 1e-6, rtol=0)
    assert images.table["label"].tolist() == [3, 1, 0]
    assert images.split("test").table["label"].tolist() == [1]


def test_scribbles_are_the_seeds_own_and_of_ten_kinds():
    a, b, other = (generated_digits(40, seed) for seed in (1, 1, 2))
    torch.testing.assert_close(a.images, b.images, rtol=0, atol=0)
    assert (a.images - other.images).abs().max() > 0.5
    assert a.labels.bincount().tolist() == [4] * 10
    assert a.images.min() >= 0
    assert a.images.max() <= 1
    assert (a.images.sum((1, 2)) > 20).all()  # there is ink in every image


def test_scribbles_of_a_kind_look_alike():
    digits = generated_digits(200, 0)
    apart = torch.cdist(digits.images.flatten(1), digits.images.flatten(1)).fill_diagonal_(torch.inf)
    same = digits.labels[apart.argmin(1)] == digits.labels
    assert same.float().mean() > 0.8


@REAL
def test_reads_the_real_digits():
    digits = load_digits("test", 500, seed=0)
    assert digits.images.shape == (500, 28, 28)
    assert digits.labels.unique().tolist() == list(range(10))
    assert 0.1 < digits.images.mean() < 0.16  # 13 % of MNIST is ink
