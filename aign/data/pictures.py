"""Image files as the pixels that a viewer shows: the one reader of all tasks.

| mode of the file                 | becomes                                                                          |
|----------------------------------|----------------------------------------------------------------------------------|
| RGB, L, 1, P, YCbCr, HSV, LAB    | its colours; of an animation the first frame                                     |
| RGBA, LA, PA, a transparent colour | its colours over white, as a page shows them: hidden colours are seen by nobody |
| 16-bit grey (I;16; I of PNG, PGM) | grey; 65,535 is white                                                           |
| CMYK                             | RGB; of a JPEG file inverted only if Adobe's marker says so                      |
| 32-bit numbers (I of TIFF, F)    | nothing: no white is stated                                                      |

The camera's orientation (EXIF) is applied, colour profiles are not.
"""

import io
from collections.abc import Callable
from functools import cache
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

from aign.data.file_tree import FileTree
from aign.data.skipped import Skipped

_KNOWN = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k"),
    ]
)
_UNKNOWN = frozenset((".heic", ".heif", ".hif", ".jxl", ".svg", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2"))
"""Of images that Pillow does not read."""
_WHITE_16_BIT = 65_535
MOST_PX = 65_535
"""The side of the largest JPEG image: what lies beyond lies in no image."""


class NotAPicture(Exception):
    """A file that is no image, or none whose pixels can be shown; ``reason`` is a verb phrase."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def listed_pictures(tree: FileTree) -> tuple[list[str], list[Skipped]]:
    """The image files of a tree, by their names, and what is called like one but cannot be read as one."""
    paths, skipped = [], []
    for path in sorted([*tree.stamps, *tree.odd]):
        if _suffix(path) not in _KNOWN | _UNKNOWN:
            continue
        reason = tree.odd.get(path) or _why_not(path)
        if reason:
            skipped.append(Skipped(path, reason))
        else:
            paths.append(path)
    return paths, skipped


def is_picture(path: str) -> bool:
    """Whether a file is called as images are that can be read."""
    return _suffix(path) in _KNOWN and not _why_not(path)


def read_picture(
    content: bytes, least: Callable[[int, int], tuple[int, int]] | None = None
) -> tuple[Image.Image, tuple[int, int]]:
    """An image file as an upright RGB image, and its whole width and height.

    ``least`` says, of the file's width and height, which size is enough: a JPEG file is then decoded at a half, a
    quarter or an eighth, several times faster. Raises NotAPicture.
    """
    if not content:
        raise NotAPicture("is empty")
    try:
        with Image.open(io.BytesIO(content), formats=_formats()) as image:
            width, height = image.size
            if least:
                image.draft("RGB", least(width, height))
            image.load()
            shown = _in_colour(_upright(image), image.format)
    except NotAPicture:
        raise
    except Image.DecompressionBombError:
        raise NotAPicture("has too many pixels") from None
    except UnidentifiedImageError:
        raise NotAPicture("is no image") from None
    except Exception:  # Pillow's decoders raise errors of many kinds for files that are not what they should be
        raise NotAPicture("is a truncated or damaged image") from None
    if (shown.width > shown.height) != (width > height):
        width, height = height, width
    return shown, (width, height)


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _why_not(path: str) -> str:
    suffix = _suffix(path)
    if PurePosixPath(path).name.startswith("._"):
        return "is a note of macOS on another file"
    if suffix in _KNOWN and suffix in _readable():
        return ""
    return f"is of a kind that is not read here, {suffix}: convert it to .jpg or .png"


@cache
def _readable() -> dict[str, str]:
    """Formats by suffix, as this Pillow was built. Others, such as PostScript, are not even tried."""
    known = Image.registered_extensions()
    return {suffix: known[suffix] for suffix in _KNOWN if known.get(suffix) in Image.OPEN}


@cache
def _formats() -> tuple[str, ...]:
    return tuple(sorted(set(_readable().values())))


def _in_colour(image: Image.Image, file_format: str | None) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        if image.mode == "F" or (image.mode == "I" and file_format not in ("PNG", "PPM")):
            raise NotAPicture("holds numbers without a stated white: save it with 8 or 16 bits")
        levels = (np.asarray(image).astype(np.float64) / _WHITE_16_BIT).clip(0, 1)
        return Image.fromarray((levels * 255).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        shown = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
    if image.mode == "CMYK" and file_format == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes all of them for Adobe's
    try:
        return image.convert("RGB")
    except ValueError:
        raise NotAPicture(f"has pixels of a kind that is not read here ({image.mode}): save it as RGB") from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged note of the camera: viewers show the image as it lies
        return image
