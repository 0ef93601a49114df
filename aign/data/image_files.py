"""Image files as pixels of one size, decoded once.

Files are decoded in parallel into a folder of the cache (see ``aign.data.cache``), which later runs, and other machines
if they share a cache, map into memory. It is found again by what was read: where, the names, sizes and times of the
files, and the size asked for.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageOps
from torch import Tensor

from aign.data.cache import made_once
from aign.data.file_tree import FileTree
from aign.data.images import LANDMARKS, ImageSet
from aign.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
_VERSION = 1  # of how pixels are made and stored: another one finds nothing of this one's
_AT_ONCE = 512  # files under way, which bounds memory
Frame = tuple[float, float, float]


@dataclass(frozen=True)
class DecodedImages:
    """The files that could be read, in the order asked for."""

    pixels: UInt8[Tensor, "images 3 size size"]
    """Mapped from the cache; what is written to it stays in this process."""
    rows: Int[np.ndarray, " images"]
    """Which of the files asked for each is."""
    frames: Float[np.ndarray, "images 3"]
    """Left and top edge of the square that was cut out, in pixels of the file, and its enlargement."""
    skipped: tuple[str, ...]


def is_image(path: str) -> bool:
    return path.lower().endswith(SUFFIXES)


def image_set(
    name: str, tree: FileTree, table: pd.DataFrame, *, folder: str = "", size: int, crop_px: int | None, strict: bool
) -> ImageSet:
    """The images that a table's column ``file`` names in a folder of a tree, with their rows; see ``read_images``."""
    paths = [f"{folder}/{file}" if folder else file for file in table["file"]]
    decoded = read_images(tree, paths, size=size, crop_px=crop_px, strict=strict)
    table = framed_landmarks(table.iloc[decoded.rows].reset_index(drop=True), decoded.frames)
    return ImageSet(name=name, pixels=decoded.pixels, table=table, skipped=decoded.skipped)


def read_images(
    tree: FileTree, paths: Sequence[str], *, size: int, crop_px: int | None = None, strict: bool = False
) -> DecodedImages:
    """The images at some paths of a tree: the middle square of each, resized to ``size`` x ``size``, in colour.

    The square is ``crop_px`` wide, in pixels of the file, or as large as fits. A file that is missing, truncated or no
    image is skipped; with ``strict`` it is a UserError, as it is if no file can be read or the cache not be used.
    """
    if size < 1 or (crop_px is not None and crop_px < 1):
        raise UserError(f"size {size}, crop {crop_px}", "is not a size in pixels", "give numbers above 0")
    asked = json.dumps([_VERSION, tree.source, size, crop_px, [(path, tree.stamps.get(path)) for path in paths]])
    name = f"images_{hashlib.sha256(asked.encode()).hexdigest()[:32]}"
    folder = made_once(name, lambda empty: _decode_into(empty, tree, paths, size, crop_px))
    decoded = _mapped(folder, paths, size)
    if strict and decoded.skipped:
        raise UserError(
            f"{tree.source}/{decoded.skipped[0]}",
            f"is missing or cannot be read as an image, as {len(decoded.skipped):,} of {len(paths):,} files",
            "copy them again, or read without strict to skip them",
        )
    if not len(decoded.pixels):
        raise UserError(tree.source, f"none of {len(paths):,} files can be read as an image", "give a folder of images")
    return decoded


def framed_landmarks(table: pd.DataFrame, frames: Float[np.ndarray, "images 3"]) -> pd.DataFrame:
    """The table with its landmarks moved from pixels of the files to pixels of the decoded images."""
    columns = {}
    for axis, edge in (("x", frames[:, 0]), ("y", frames[:, 1])):
        for name in (f"{landmark}_{axis}" for landmark in LANDMARKS if f"{landmark}_{axis}" in table):
            columns[name] = (table[name] - edge + 0.5) * frames[:, 2] - 0.5  # 0 is the middle of the first pixel
    return table.assign(**columns)


def _mapped(folder: Path, paths: Sequence[str], size: int) -> DecodedImages:
    rows, frames = np.load(folder / "rows.npy"), np.load(folder / "frames.npy")
    shape = (len(rows), 3, size, size)
    # Copy on write: torch asks for memory that may be written to, and the file must not change.
    pixels = np.memmap(folder / "pixels.bin", np.uint8, "c", shape=shape) if len(rows) else np.empty(shape, np.uint8)
    skipped = tuple(paths[row] for row in np.setdiff1d(np.arange(len(paths)), rows))
    return DecodedImages(torch.from_numpy(pixels), rows, frames, skipped)


def _decode_into(folder: Path, tree: FileTree, paths: Sequence[str], size: int, crop_px: int | None) -> None:
    rows, frames = [], []
    with open(folder / "pixels.bin", "wb") as file:
        for row, (pixels, frame) in _decoded(tree, paths, size, crop_px):
            file.write(pixels)
            rows.append(row)
            frames.append(frame)
    np.save(folder / "rows.npy", np.array(rows, np.int64))
    np.save(folder / "frames.npy", np.array(frames, np.float64).reshape(-1, 3))


def _decoded(
    tree: FileTree, paths: Sequence[str], size: int, crop_px: int | None
) -> Iterator[tuple[int, tuple[bytes, Frame]]]:
    """The files that can be decoded, with their place among the paths."""
    present = [(row, path) for row, path in enumerate(paths) if path in tree.stamps]
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(present), _AT_ONCE):
            part = present[start : start + _AT_ONCE]
            images = pool.map(lambda item: decode(tree.read(item[1]), size, crop_px), part)
            yield from ((row, image) for (row, _), image in zip(part, images, strict=True) if image is not None)


def decode(content: bytes, size: int, crop_px: int | None) -> tuple[bytes, Frame] | None:
    """Pixels (3, size, size) of the middle square of an image file, and its frame; None if it is no whole image."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            side = min(width, height, crop_px or width)
            # A JPEG is decoded at a half, a quarter or an eighth if that is enough: several times faster.
            image.draft("RGB", (-(-width * size // side), -(-height * size // side)))
            shrunk = image.size[0] / width
            upright = ImageOps.exif_transpose(image.convert("RGB"))
    except Exception:  # Pillow's decoders raise errors of many kinds for files that are not what they should be
        return None
    if (upright.width > upright.height) != (width > height):
        width, height = height, width
    left, top = (width - side) / 2, (height - side) / 2
    right, bottom = min((left + side) * shrunk, upright.width), min((top + side) * shrunk, upright.height)
    box = (left * shrunk, top * shrunk, right, bottom)
    small = upright.resize((size, size), Image.Resampling.BICUBIC, box=box)
    return np.asarray(small).transpose(2, 0, 1).tobytes(), (left, top, size / side)
