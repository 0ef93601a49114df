"""A set of images with a table of what is known about each: attributes, identity, age, landmarks."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, UInt8
from torch import Tensor

from aign.data.bias import selected
from aign.data.skipped import Skipped, skipped_line
from aign.errors import UserError

SPLITS = ("train", "validation", "test")
LANDMARKS = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
"""Each is two columns, ``lefteye_x`` and ``lefteye_y``, in pixels of the images; left as seen in the image."""


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Images of one size, and a table with one row an image.

    The table's columns are what is known: attributes (1 or -1, as in CelebA), ``identity`` (an integer), numbers such
    as ``age``, landmarks (``LANDMARKS``), and always ``split``, one of ``SPLITS``. Raises ValueError if they do not
    fit.
    """

    name: str
    pixels: UInt8[Tensor, "images channels height width"]
    """May be mapped from a file, not read: index it, and only what is asked for is read."""
    table: pd.DataFrame
    skipped: tuple[Skipped, ...] = ()
    """Files that were left out because they could not be read."""

    def __post_init__(self) -> None:
        if len(self.pixels) != len(self.table):
            raise ValueError(f"{len(self.pixels)} images, but a table of {len(self.table)} rows")
        if "split" not in self.table or not self.table["split"].isin(SPLITS).all():
            raise ValueError(f"the table needs a column 'split' of {', '.join(SPLITS)}")

    def __len__(self) -> int:
        return len(self.pixels)

    def where(self, expression: str) -> "ImageSet":
        """The images that an expression over the table selects: ``Male == -1 and Young == 1``.

        Raises UserError for an expression that is none (see ``aign.data.bias``) and for one that selects nothing.
        """
        chosen = self._rows(selected(expression, self.table))
        if not len(chosen):
            raise UserError(expression, f"selects none of the {len(self):,} images of {self.name}", "widen the bias")
        return replace(chosen, name=f"{self.name} where {expression}")

    def split(self, name: str) -> "ImageSet":
        """The images of one split. Raises UserError for a split that is none, or that holds no image."""
        if name not in SPLITS:
            raise UserError(f"split {name!r}", "there is no such split", f"choose one of {', '.join(SPLITS)}")
        chosen = self._rows((self.table["split"] == name).to_numpy())
        if not len(chosen):
            raise UserError(f"split {name!r}", f"holds no image of {self.name}", "choose a larger set of images")
        return chosen

    def fit(self, fits: Bool[np.ndarray, " images"], reason: str) -> "ImageSet":
        """The images that fit; the others are skipped for one reason. Raises UserError if none does."""
        unfit = tuple(Skipped(file, reason) for file in self.table["file"][~fits])
        if not fits.any():
            raise UserError(self.name, skipped_line(unfit, "files were"), "give other images")
        return replace(self._rows(fits), skipped=(*self.skipped, *unfit))

    def without(self, skipped: Sequence[Skipped]) -> "ImageSet":
        """The same images, of which files are known that are not among them."""
        return replace(self, skipped=(*skipped, *self.skipped))

    def grey(self) -> "ImageSet":
        """The images without colours: the mean of their channels."""
        return replace(self, pixels=self.pixels.float().mean(1, keepdim=True).round().byte())

    def counted(self) -> str:
        """How many images each split holds. Raises UserError for one that holds none."""
        train, validation, test = (len(self.split(split)) for split in SPLITS)
        return f"{self.name}: {train:,} for training, {validation:,} validation, {test:,} test"

    @property
    def warnings(self) -> list[str]:
        """What a person should know about these images."""
        return [skipped_line(self.skipped, f"files of {self.name} were")] if self.skipped else []

    def _rows(self, mask: Bool[np.ndarray, " images"]) -> "ImageSet":
        rows = np.flatnonzero(mask)
        # Splits are often one run of rows: a view of it, not a copy of gigabytes.
        is_run = len(rows) > 0 and rows[-1] - rows[0] + 1 == len(rows)
        pixels = self.pixels[rows[0] : rows[-1] + 1] if is_run else self.pixels[rows]
        return replace(self, pixels=pixels, table=self.table.iloc[rows].reset_index(drop=True))


def split_by(keys: Sequence[object]) -> list[str]:
    """A split for each key (a file name, an identity): 80 % train, 10 % validation, 10 % test of the different keys.

    Equal keys share a split, and one key more or less moves few of the others. Three keys or more leave none empty.
    """
    order = sorted({str(key) for key in keys}, key=lambda key: (zlib.crc32(key.encode()), key))
    tenth = max(1, len(order) // 10) if len(order) >= len(SPLITS) else 0
    names = ["test"] * tenth + ["validation"] * tenth + ["train"] * (len(order) - 2 * tenth)
    of = dict(zip(order, names, strict=True))
    return [of[str(key)] for key in keys]
