"""A person's own images: files and folders that are read as they are, and mistakes told in one line."""

import numpy as np
import pytest
import torch
from PIL import Image

from aign.data.user_images import read_user_images, result_names
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
    assert torch.equal(read_user_images(path, size).pixels, pixels[None])


def test_a_folder_in_the_order_of_names_without_what_is_no_image(save, tmp_path):
    second, _ = save("b.png")
    first, _ = save("a.PNG")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "c.png").mkdir()
    own = read_user_images(tmp_path, COLOUR)
    assert torch.equal(own.pixels, torch.stack([first, second]))
    assert own.table["file"].tolist() == ["a.PNG", "b.png"]


def test_a_palette_counts_as_its_colours(tmp_path):
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[:, 4:] = (200, 100, 50)
    Image.fromarray(pixels).quantize(2).save(tmp_path / "a.png")
    assert read_user_images(tmp_path / "a.png", COLOUR).pixels[0, :, 0, 7].tolist() == [200, 100, 50]


def test_grey_images_for_a_network_of_colours_and_the_other_way_round(save):
    grey, path = save("a.png", GREY)
    assert torch.equal(read_user_images(path, COLOUR).pixels, grey.expand(3, -1, -1)[None])
    colour, path = save("b.png", COLOUR)
    assert torch.equal(read_user_images(path, GREY).pixels, colour.float().mean(0).round().byte()[None, None])


def test_what_cannot_be_read_is_skipped_with_the_reason(save, tmp_path):
    save("a.png")
    save("small.png", (3, 4, 8))
    (tmp_path / "none.png").write_text("not an image")
    own = read_user_images(tmp_path, COLOUR)
    assert own.table["file"].tolist() == ["a.png"]
    assert dict(own.skipped)["none.png"] == "is no image"
    assert "is 8 x 4 pixels" in dict(own.skipped)["small.png"]
    with pytest.raises(UserError, match="is 8 x 4 pixels, the network was trained on 8 x 6"):
        read_user_images(tmp_path / "small.png", COLOUR)


def test_nothing_to_read(tmp_path):
    for place in (tmp_path / "missing", tmp_path):
        with pytest.raises(UserError) as error:
            read_user_images(place, COLOUR)
        assert error.value.value == str(place)


def test_results_are_called_as_their_files_and_never_alike():
    files = ["cats/0.png", "dogs/0.png", "0.jpg", "grid.png", "A.png", "a.png", "0-2.png"]
    names = result_names(files, taken=("grid", "picture"))
    assert names == ("0", "0-2", "0-3", "grid-2", "A", "a-2", "0-2-2")
