"""A person's own images: files and folders that are read as they are, and mistakes told in one line."""

import numpy as np
import pytest
import torch
from PIL import Image

from aign.data.own_images import read_own_images
from aign.errors import UserError

GREY, COLOUR = (1, 6, 8), (3, 6, 8)


@pytest.fixture
def save(rng, tmp_path):
    def save(name, size=COLOUR, mode=None):
        """A random image as a file; returns its pixels and its path."""
        pixels = torch.randint(256, size, generator=rng).byte()
        image = Image.fromarray(pixels.permute(1, 2, 0).squeeze(-1).numpy())
        path = tmp_path / name
        (image if mode is None else image.convert(mode)).save(path)
        return pixels, path

    return save


@pytest.mark.parametrize("size", [GREY, COLOUR])
def test_one_file(size, save):
    pixels, path = save("a.png", size)
    assert torch.equal(read_own_images(path, size), pixels[None])


def test_a_folder_in_the_order_of_names_without_what_is_no_image(save, tmp_path):
    second, _ = save("b.png")
    first, _ = save("a.PNG")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "c.png").mkdir()
    assert torch.equal(read_own_images(tmp_path, COLOUR), torch.stack([first, second]))


def test_a_palette_counts_as_its_colours(tmp_path):
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[:, 4:] = (200, 100, 50)
    Image.fromarray(pixels).quantize(2).save(tmp_path / "a.png")
    assert read_own_images(tmp_path / "a.png", COLOUR)[0, :, 0, 7].tolist() == [200, 100, 50]


@pytest.mark.parametrize(
    ("size", "mode", "message"),
    [
        ((3, 8, 6), None, r"is 6 x 8 pixels, the network was trained on 8 x 6; crop and resize it to 8 x 6"),
        (GREY, None, "has 1 channels of uint8, the network was trained on 8-bit RGB images; save it as 8-bit RGB"),
        (COLOUR, "RGBA", "has 4 channels of uint8"),
        (GREY, "I;16", "of uint16, the network"),
        (COLOUR, "1", "of bool, the network"),
    ],
)
def test_another_size_is_refused_with_the_remedy(size, mode, message, save):
    _, path = save("a.png", size, mode)
    with pytest.raises(UserError, match=message):
        read_own_images(path, COLOUR)


def test_what_is_truncated_or_no_image_is_named(save, tmp_path):
    _, path = save("a.png", (3, 60, 80))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"a\.png: truncated or no image \(.*\); copy it again"):
        read_own_images(tmp_path, (3, 60, 80))
    path.write_text("not an image")
    with pytest.raises(UserError, match="truncated or no image"):
        read_own_images(path, (3, 60, 80))


def test_nothing_to_read(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        read_own_images(tmp_path / "missing", COLOUR)
    with pytest.raises(UserError, match="holds no images"):
        read_own_images(tmp_path, COLOUR)
