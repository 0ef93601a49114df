"""Decoding: the middle square at the right place, broken files left out, and a cache that is right."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from aign.data import image_files
from aign.data.file_tree import FileTree
from aign.data.image_files import framed_landmarks, measured_landmarks, read_images
from aign.data.skipped import Skipped
from aign.errors import UserError


@pytest.fixture
def folder(tmp_path):
    def folder(**files):
        """A tree with files ``name_jpg=content``."""
        place = tmp_path / "files"
        place.mkdir(exist_ok=True)
        for name, content in files.items():
            (place / name.replace("_", ".")).write_bytes(content)
        return FileTree(place)

    return folder


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("width", "height", "crop_px"), [(178, 218, 148), (178, 218, None), (500, 301, 200), (40, 50, 400)]
)
def test_a_place_in_the_file_is_found_in_the_image(folder, dotted, kind, width, height, crop_px):
    dot = (width // 2 + 7, height // 2 - 5)
    tree = folder(a_x=dotted(width, height, dot, kind=kind))
    images = read_images(tree, ["a.x"], size=32, crop_px=crop_px)
    known = framed_landmarks(pd.DataFrame({"nose_x": [dot[0]], "nose_y": [dot[1]], "age": [3]}), images.frames)
    red = (images.pixels[0, 0].float() - images.pixels[0, 1] - 20).clamp(min=0)  # above the noise
    centre = [(red.sum(1 - axis) * torch.arange(32)).sum().item() / red.sum().item() for axis in (1, 0)]
    assert centre == pytest.approx([known["nose_x"][0], known["nose_y"][0]], abs=0.35)
    assert known["age"][0] == 3


def test_landmarks_that_were_not_found_are_unknown():
    eyes = {"lefteye_x": [9.0, 0, 7, 1e30, np.inf], "lefteye_y": [9.0, 0, 7, 5, 5]}
    table = pd.DataFrame(eyes | {"nose_x": [3.0, 3, 7, 3, 3], "nose_y": [0.0, 3, 7, 3, 3], "age": range(5)})
    measured = measured_landmarks(table, "faces")
    assert measured["lefteye_x"].isna().tolist() == [False, True, True, True, True]
    assert measured["nose_x"].isna().tolist() == [False, False, True, False, False]
    with pytest.raises(UserError, match="column nose_x"):
        measured_landmarks(table.assign(nose_x="left"), "faces")


def test_a_reduced_jpeg_looks_like_a_whole_one(folder, rng):
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 9, 9, generator=rng), (400, 400), mode="bicubic")[0]
    image = Image.fromarray(smooth.clamp(0, 1).mul(255).byte().permute(1, 2, 0).numpy())
    files = {}
    for name, kind in (("a_jpg", "JPEG"), ("a_png", "PNG")):
        image.save(file := io.BytesIO(), kind, **({"quality": 98} if kind == "JPEG" else {}))
        files[name] = file.getvalue()
    reduced, whole = read_images(folder(**files), ["a.jpg", "a.png"], size=40).pixels.float()
    assert (reduced - whole).abs().mean() < 3


def test_photographs_stand_upright(folder, dotted):
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned a quarter clockwise to stand upright
    tree = folder(a_jpg=dotted(90, 60, (15, 30), exif=turned))
    pixels = read_images(tree, ["a.jpg"], size=60).pixels[0].int()
    assert (pixels[0] - pixels[1]).argmax().item() // 60 == pytest.approx(0, abs=5)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_all_become_colour(folder, tmp_path, mode):
    path = tmp_path / "x.tif"
    Image.new(mode, (20, 20)).save(path)
    assert read_images(folder(a_tif=path.read_bytes()), ["a.tif"], size=8).pixels.shape == (1, 3, 8, 8)


def test_broken_and_missing_files_are_left_out(folder, dotted):
    good = dotted(40, 40, (20, 20))
    blue = dotted(40, 40, (20, 20), colour=(0, 0, 255))
    tree = folder(a_jpg=good, b_jpg=good[: len(good) // 2], c_jpg=b"", d_jpg=b"no image", e_jpg=blue)
    paths = [f"{name}.jpg" for name in "abcdxe"]
    images = read_images(tree, paths, size=16)
    assert images.rows.tolist() == [0, 5]
    assert dict(images.skipped) == {
        "b.jpg": "is a truncated or damaged image",
        "c.jpg": "is empty",
        "d.jpg": "is no image",
        "x.jpg": "is not there, but a.jpg is",
    }
    assert images.pixels[:, :, 8, 8].argmax(1).tolist() == [0, 2]
    with pytest.raises(UserError, match=r"b\.jpg: is a truncated.*4 of 6 files"):
        read_images(tree, paths, size=16, strict=True)
    with pytest.raises(UserError, match="none of 2 files can be read as an image"):
        read_images(tree, ["c.jpg", "d.jpg"], size=16)


def test_files_are_decoded_once_and_again_when_they_change(folder, dotted, monkeypatch, cache):
    tree = folder(a_jpg=dotted(40, 40, (20, 20)), b_jpg=b"no image")
    paths = ["a.jpg", "b.jpg"]
    first = read_images(tree, paths, size=16)
    with monkeypatch.context() as patch:
        patch.setattr(image_files, "decode", lambda *_: pytest.fail("decoded again"))
        again = read_images(folder(), paths, size=16)
    assert torch.equal(first.pixels, again.pixels)
    assert again.skipped == (Skipped("b.jpg", "is no image"),)
    np.testing.assert_array_equal(first.frames, again.frames)
    assert read_images(tree, paths, size=8).pixels.shape[-1] == 8
    changed = read_images(folder(a_jpg=dotted(40, 40, (20, 20), colour=(0, 255, 0))), paths, size=16)
    assert changed.pixels[0, :, 8, 8].argmax() == 1
    assert not list(cache.glob("*.partial"))


def test_what_one_machine_has_decoded_another_fetches(folder, dotted, machine, monkeypatch, tmp_path):
    monkeypatch.setenv("AIGN_CACHE", f"file://{tmp_path}/store")
    tree = folder(a_jpg=dotted(40, 40, (20, 20)), b_jpg=b"no image")
    machine("head")
    first = read_images(tree, ["a.jpg", "b.jpg"], size=16)
    machine("worker")
    with monkeypatch.context() as patch:
        patch.setattr(tree, "read", lambda path: pytest.fail(f"{path} was read"))
        again = read_images(tree, ["a.jpg", "b.jpg"], size=16)
    assert torch.equal(first.pixels, again.pixels)
    assert again.skipped == (Skipped("b.jpg", "is no image"),)
    np.testing.assert_array_equal(first.frames, again.frames)


def test_writing_to_pixels_does_not_change_the_cache(folder, dotted):
    tree = folder(a_jpg=dotted(40, 40, (20, 20)))
    read_images(tree, ["a.jpg"], size=16).pixels.zero_()
    assert read_images(tree, ["a.jpg"], size=16).pixels.any()


def test_a_decoding_that_fails_leaves_nothing(folder, dotted, cache, monkeypatch):
    tree = folder(a_jpg=dotted(40, 40, (20, 20)))
    with monkeypatch.context() as patch:
        patch.setattr(tree, "read", lambda _: (_ for _ in ()).throw(UserError("a.jpg", "cannot be read", "wait")))
        with pytest.raises(UserError, match=r"a\.jpg: cannot be read"):
            read_images(tree, ["a.jpg"], size=16)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]
    assert len(read_images(tree, ["a.jpg"], size=16).pixels) == 1


def test_a_cache_that_cannot_be_written_is_an_error(folder, dotted, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("AIGN_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"cannot hold what is made once .*; set AIGN_CACHE to a folder"):
        read_images(folder(a_jpg=dotted(40, 40, (20, 20))), ["a.jpg"], size=16)


def test_no_size_is_an_error(folder, dotted):
    with pytest.raises(UserError, match="size 0, crop None"):
        read_images(folder(a_jpg=dotted(40, 40, (20, 20))), ["a.jpg"], size=0)
