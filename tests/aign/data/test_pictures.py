"""Image files of every mode as the pixels that a viewer shows, and files that only look like images."""

import io
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aign.data.file_tree import FileTree
from aign.data.image_folders import load_image_folder
from aign.data.pictures import NotAPicture, is_picture, listed_pictures, read_picture
from aign.errors import UserError


def saved(image, kind="PNG", **options):
    image.save(file := io.BytesIO(), kind, **options)
    return file.getvalue()


def first_pixel(content):
    return read_picture(content)[0].getpixel((0, 0))


def palette(transparent):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([9, 9, 9, 200, 100, 50])
    return saved(image, **({"transparency": 1} if transparent else {}))


WHITE, GREY = (255, 255, 255), (128, 128, 128)


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (saved(Image.new("RGBA", (4, 4), (255, 0, 0, 0))), WHITE),
        (saved(Image.new("RGBA", (4, 4), (255, 0, 0, 128))), (255, 127, 127)),
        (saved(Image.new("LA", (4, 4), (0, 0))), WHITE),
        (saved(Image.new("RGB", (4, 4), (1, 2, 3)), transparency=(1, 2, 3)), WHITE),
        (palette(transparent=True), WHITE),
        (palette(transparent=False), (200, 100, 50)),
        (saved(Image.new("P", (4, 4)), "GIF", transparency=0), WHITE),
        (saved(Image.new("1", (4, 4), 1)), WHITE),
        (saved(Image.fromarray(np.full((4, 4), 128 * 257, np.uint16))), GREY),
        (saved(Image.fromarray(np.full((4, 4), 128 * 257, np.uint16)), "TIFF"), GREY),
        (saved(Image.fromarray(np.full((4, 4), 128 * 257, np.int32)), "PPM"), GREY),
        (saved(Image.new("CMYK", (4, 4), (0, 0, 0, 0)), "TIFF"), WHITE),
        (saved(Image.new("CMYK", (4, 4), (0, 0, 0, 0)), "JPEG"), WHITE),
        (saved(Image.new("HSV", (4, 4), (0, 0, 255)).convert("RGB"), "WEBP", lossless=True), WHITE),
    ],
)
def test_every_mode_becomes_what_a_viewer_shows(content, shown):
    assert first_pixel(content) == shown


def test_ink_of_a_jpeg_is_inverted_only_if_adobe_says_so():
    content = saved(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG")
    start = content.index(b"\xff\xee")
    without = content[:start] + content[start + 2 + int.from_bytes(content[start + 2 : start + 4], "big") :]
    assert first_pixel(content) == WHITE
    assert first_pixel(without) == (0, 0, 0)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an image",
        saved(Image.new("RGB", (40, 40)))[:60],
        saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"),
        saved(Image.fromarray(np.ones((4, 4), np.int32)), "TIFF"),
        saved(Image.new("RGB", (4, 4)), "EPS"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_a_reason(content):
    with pytest.raises(NotAPicture) as error:
        read_picture(content)
    assert error.value.reason.startswith(("is ", "holds ", "has "))


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (39, 19)), (6, (19, 0)), (8, (0, 39))])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_images_stand_as_the_camera_says(kind, orientation, corner):
    image = Image.new("RGB", (40, 20))
    image.paste("white", (0, 0, 8, 8))
    turned = Image.Exif()
    turned[0x0112] = orientation
    shown, size = read_picture(saved(image, kind, exif=turned))
    assert shown.size == size == ((20, 40) if orientation > 4 else (40, 20))
    assert min(shown.getpixel(corner)) > 200


def test_a_damaged_note_of_the_camera_does_not_matter():
    content = saved(Image.new("RGB", (8, 8), "white"), exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert first_pixel(content) == WHITE


@pytest.fixture
def strange(tmp_path):
    """A folder as people have it: two images, and all that may lie beside them."""
    place = tmp_path / "photos"
    place.mkdir()
    good = saved(Image.new("RGB", (20, 20), "red"))
    for name in ("good.png", "good.gif"):
        (place / name).write_bytes(good if name.endswith("png") else saved(Image.new("RGB", (20, 20)), "GIF"))
    (place / "good.jfif").write_bytes(saved(Image.new("RGB", (20, 20)), "JPEG"))
    for name in (".DS_Store", "Thumbs.db", "notes.txt"):
        (place / name).write_bytes(b"\0")
    (place / "._good.png").write_bytes(b"\0\5\26\7")
    (place / "gone.jpg").symlink_to("nowhere.jpg")
    (place / "round.jpg").symlink_to("round.jpg")
    (place / "folder.jpg").mkdir()
    (place / "phone.heic").write_bytes(b"0")
    (place / "empty.jpg").touch()
    os.mkfifo(place / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listener:
        old = os.getcwd()
        os.chdir(place)  # the path of a socket may be no longer than 107 bytes
        listener.bind("socket.png")
        os.chdir(old)
    return place


ODD = {"._good.png", "gone.jpg", "round.jpg", "folder.jpg", "phone.heic", "pipe.png", "socket.png"}


def test_strange_files_are_skipped_counted_and_named(strange):
    files, skipped = listed_pictures(FileTree(strange))
    assert files == ["empty.jpg", "good.gif", "good.jfif", "good.png"]
    assert {name for name, _ in skipped} == ODD
    images = load_image_folder(strange, size=8)
    assert images.table["file"].tolist() == ["good.gif", "good.jfif", "good.png"]
    assert {name for name, _ in images.skipped} == ODD | {"empty.jpg"}
    (line,) = images.warnings
    assert line.startswith("8 files of")
    with pytest.raises(UserError, match="7 files were skipped"):
        load_image_folder(strange, size=8, strict=True)


def test_a_folder_of_nothing_but_strange_files_is_refused_with_the_reasons(tmp_path):
    (tmp_path / "a.heic").touch()
    with pytest.raises(UserError, match=r"a\.heic is of a kind that is not read here, \.heic: convert it"):
        load_image_folder(tmp_path)


def test_a_file_that_cannot_be_read_is_skipped_now_and_tried_again(strange, monkeypatch):
    with monkeypatch.context() as patch:
        read = Path.read_bytes

        def failing(path):
            if path.name == "good.png":
                raise OSError(5, "Input/output error")
            return read(path)

        patch.setattr("pathlib.Path.read_bytes", failing)
        images = load_image_folder(strange, size=8)
        assert dict(images.skipped)["good.png"] == "cannot be read (Input/output error)"
    assert "good.png" in load_image_folder(strange, size=8).table["file"].tolist()


def test_files_are_told_by_their_suffix():
    assert [path for path in ("a.JPG", "b.jfif", "c.avif", "d.eps", "e", "._a.jpg", "x/y.png") if is_picture(path)] == [
        *("a.JPG", "b.jfif", "c.avif", "x/y.png")
    ]
