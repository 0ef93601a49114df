"""Image files as pixels of one size, decoded once.

Files are decoded in parallel into a folder of the cache (see ``aign.data.cache``), which later runs, and other machines
if they share a cache, map into memory. It is found again by what was read: where, the names, sizes and times of the
files, and the size asked for.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, UInt8
from pandas.api.types import is_numeric_dtype
from PIL import Image
from torch import Tensor

from aign.data.cache import made_once
from aign.data.file_names import match_files
from aign.data.file_tree import FileTree, Unreadable
from aign.data.images import LANDMARKS, ImageSet
from aign.data.pictures import MOST_PX, NotAPicture, is_picture, read_picture
from aign.data.skipped import Skipped, skipped_line
from aign.errors import UserError

_VERSION = 2  # of how pixels are made and stored: another one finds nothing of this one's
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
    skipped: tuple[Skipped, ...]


def image_set(
    name: str, tree: FileTree, table: pd.DataFrame, *, folder: str = "", size: int, crop_px: int | None, strict: bool
) -> ImageSet:
    """The images that a table's column ``file`` names in a folder of a tree, with their rows; see ``read_images``.

    Names need not be exact (see ``match_files``); two for one file are a UserError.
    """
    start = f"{folder}/" if folder else ""
    images = [path.removeprefix(start) for path in tree.stamps if path.startswith(start) and is_picture(path)]
    matched = match_files(table["file"].tolist(), images)
    table = table.assign(file=[found or name for found, name in zip(matched, table["file"], strict=True)])
    twice = table["file"][table["file"].duplicated()]
    if len(twice):
        raise UserError(f"{name}: {twice.iloc[0]}", "is named in two rows", "give every image one row")
    table = measured_landmarks(table, name)
    decoded = read_images(tree, [start + file for file in table["file"]], size=size, crop_px=crop_px, strict=strict)
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
    try:
        decoded = _kept(tree, paths, size, crop_px)
    except _Unreadable as found:  # remembered nowhere: the next command may read them
        tree.odd.update(found.reasons)
        for path in found.reasons:
            tree.stamps.pop(path)
        decoded = _kept(tree, paths, size, crop_px)
    if strict and decoded.skipped:
        first = decoded.skipped[0]
        reason = f"{first.reason}, and --strict skips none ({len(decoded.skipped):,} of {len(paths):,} files)"
        raise UserError(tree.place(first.name), reason, "mend or remove them, or leave --strict out")
    if not len(decoded.pixels):
        raise UserError(
            tree.source, f"none of {len(paths):,} files can be read as an image", _why_none(decoded.skipped)
        )
    return decoded


def measured_landmarks(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The table with NaN for landmarks that were not found, as detectors write them: (0, 0), beyond any image, or all
    of a face in one point. Raises UserError for columns of other things than numbers."""
    known = [landmark for landmark in LANDMARKS if {f"{landmark}_x", f"{landmark}_y"} <= set(table)]
    columns = [f"{landmark}_{axis}" for landmark in known for axis in "xy"]
    for column in columns:
        if not is_numeric_dtype(table[column]):
            raise UserError(f"column {column}", f"of {name} holds other things than numbers", "give pixels")
    places = table[columns].to_numpy(np.float64).reshape(len(table), len(known), 2)
    found = (np.abs(places) <= MOST_PX).all(2) & (places != 0).any(2)
    if len(known) > 1:
        found &= (places != places[:, :1]).any((1, 2))[:, None]
    places = np.where(found[..., None], places, np.nan).reshape(len(table), len(columns))
    return table.assign(**dict(zip(columns, places.T, strict=True)))


def framed_landmarks(table: pd.DataFrame, frames: Float[np.ndarray, "images 3"]) -> pd.DataFrame:
    """The table with its landmarks moved from pixels of the files to pixels of the decoded images."""
    columns = {}
    for axis, edge in (("x", frames[:, 0]), ("y", frames[:, 1])):
        for name in (f"{landmark}_{axis}" for landmark in LANDMARKS if f"{landmark}_{axis}" in table):
            columns[name] = (table[name] - edge + 0.5) * frames[:, 2] - 0.5  # 0 is the middle of the first pixel
    return table.assign(**columns)


class _Unreadable(Exception):
    """Files that could not be read this time, with the reasons."""

    def __init__(self, reasons: dict[str, str]) -> None:
        self.reasons = reasons
        super().__init__(reasons)


def _kept(tree: FileTree, paths: Sequence[str], size: int, crop_px: int | None) -> DecodedImages:
    """As ``read_images``, from the cache if it is there. Raises _Unreadable if files cannot be read."""
    asked = json.dumps([_VERSION, tree.source, size, crop_px, [(path, tree.stamps.get(path)) for path in paths]])
    name = f"images_{hashlib.sha256(asked.encode()).hexdigest()[:32]}"
    folder = made_once(name, lambda empty: _decode_into(empty, tree, paths, size, crop_px))
    return _mapped(folder, tree, paths, size)


def _mapped(folder: Path, tree: FileTree, paths: Sequence[str], size: int) -> DecodedImages:
    rows, frames = np.load(folder / "rows.npy"), np.load(folder / "frames.npy")
    shape = (len(rows), 3, size, size)
    # Copy on write: torch asks for memory that may be written to, and the file must not change.
    pixels = np.memmap(folder / "pixels.bin", np.uint8, "c", shape=shape) if len(rows) else np.empty(shape, np.uint8)
    reasons = json.loads((folder / "reasons.json").read_bytes())
    missing = next((f"is not there, but {path} is" for path in tree.stamps if is_picture(path)), "is not there")
    skipped = tuple(
        Skipped(path, reasons.get(path) or tree.odd.get(path, missing))
        for path in (paths[row] for row in np.setdiff1d(np.arange(len(paths)), rows))
    )
    return DecodedImages(torch.from_numpy(pixels), rows, frames, skipped)


def _decode_into(folder: Path, tree: FileTree, paths: Sequence[str], size: int, crop_px: int | None) -> None:
    rows, frames = [], []
    reasons: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    with open(folder / "pixels.bin", "wb") as file:
        for row, image in _decoded(tree, paths, size, crop_px):
            if isinstance(image, NotAPicture):
                reasons[paths[row]] = image.reason
            elif isinstance(image, Unreadable):
                unreadable[paths[row]] = image.reason
            else:
                pixels, frame = image
                file.write(pixels)
                rows.append(row)
                frames.append(frame)
    if unreadable:
        raise _Unreadable(unreadable)
    np.save(folder / "rows.npy", np.array(rows, np.int64))
    np.save(folder / "frames.npy", np.array(frames, np.float64).reshape(-1, 3))
    (folder / "reasons.json").write_text(json.dumps(reasons))


def _decoded(
    tree: FileTree, paths: Sequence[str], size: int, crop_px: int | None
) -> Iterator[tuple[int, tuple[bytes, Frame] | NotAPicture | Unreadable]]:
    """The files that are there, decoded or with the reason why not, with their place among the paths."""

    def attempt(path: str) -> tuple[bytes, Frame] | NotAPicture | Unreadable:
        try:
            return decode(tree.read(path), size, crop_px)
        except (NotAPicture, Unreadable) as error:
            return error

    present = [(row, path) for row, path in enumerate(paths) if path in tree.stamps]
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(present), _AT_ONCE):
            part = present[start : start + _AT_ONCE]
            images = pool.map(lambda item: attempt(item[1]), part)
            yield from ((row, image) for (row, _), image in zip(part, images, strict=True))


def decode(content: bytes, size: int, crop_px: int | None) -> tuple[bytes, Frame]:
    """Pixels (3, size, size) of the middle square of an image file, and its frame. Raises NotAPicture."""

    def least(width: int, height: int) -> tuple[int, int]:
        side = min(width, height, crop_px or width)
        return -(-width * size // side), -(-height * size // side)

    upright, (width, height) = read_picture(content, least)
    side = min(width, height, crop_px or width)
    shrunk = upright.width / width
    left, top = (width - side) / 2, (height - side) / 2
    right, bottom = min((left + side) * shrunk, upright.width), min((top + side) * shrunk, upright.height)
    box = (left * shrunk, top * shrunk, right, bottom)
    small = upright.resize((size, size), Image.Resampling.BICUBIC, box=box)
    return np.asarray(small).transpose(2, 0, 1).tobytes(), (left, top, size / side)


def _why_none(skipped: Sequence[Skipped]) -> str:
    return skipped_line(skipped, "files were") if skipped else "give a folder of images"
