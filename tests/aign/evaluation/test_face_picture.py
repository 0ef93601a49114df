"""The picture of image tasks: its columns, its pixels, the files."""

import numpy as np
import pytest
import torch
from PIL import Image

from aign.evaluation.face_picture import CONTRAST, draw_faces, grid, write_images


def drawn(count=2, **changes):
    images = {name: torch.rand(count, 3, 8, 8) for name in ("observed", "rendered", "inferred", "remembered", "truth")}
    return draw_faces(**images | {"notes": ["30.0 dB"] * count, "title": "faces"} | changes)


def roles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]


def test_columns_are_what_there_is():
    assert roles(drawn()) == ["observed", "rendered", "inferred", "remembered", "difference", "true"]
    assert roles(drawn(remembered=None, truth=None)) == ["observed", "rendered", "inferred", "difference"]
    assert len(drawn(3).axes) == 18


@pytest.mark.parametrize(("off", "level"), [(0.0, 128), (0.03, round(255 * (0.5 + 0.03 * CONTRAST))), (1.0, 255)])
def test_the_difference_is_around_grey(off, level):
    flat = torch.zeros(1, 3, 8, 8)
    figure = drawn(1, observed=flat, rendered=flat + off)
    (difference,) = [a for a in figure.axes if a.get_title(loc="left") == "difference"]
    assert (np.asarray(difference.images[0].get_array()) == level).all()


def test_a_picture_can_be_saved(tmp_path):
    drawn().savefig(tmp_path / "picture.png")
    assert Image.open(tmp_path / "picture.png").size[0] > 500


def test_images_are_written_with_their_grid(tmp_path):
    images = torch.zeros(3, 1, 4, 6)
    images[2] = 1.0
    paths = write_images(images, tmp_path, ["a", "b", "c"])
    assert [path.name for path in paths] == ["a.png", "b.png", "c.png", "grid.png"]
    assert np.asarray(Image.open(paths[2])).shape == (4, 6, 3)
    assert (np.asarray(Image.open(paths[2])) == 255).all()


def test_the_grid_has_images_in_reading_order():
    images = torch.tensor([0.1, 0.2, 0.3])[:, None, None, None].expand(3, 1, 2, 2)
    tiles = grid(images)
    assert tiles.shape == (1, 12, 12)
    assert [round(tiles[0, y, x].item(), 1) for y, x in ((2, 2), (2, 8), (8, 2), (8, 8))] == [0.1, 0.2, 0.3, 1.0]
