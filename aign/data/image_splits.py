"""Which images a task works on, by name, and who sees which: inputs, memories, test and validation images.

Inputs and memories are images of different people, so that no memory is the answer to an input.
"""

import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool

from aign.data.bias import selected
from aign.data.celeba import load_celeba
from aign.data.digits import digit_set, load_digits
from aign.data.faces import generated_faces
from aign.data.image_folders import load_image_folder
from aign.data.images import ImageSet
from aign.data.london_faces import load_london_faces
from aign.errors import NotTrainable, UserError
from aign.memories import MIN_SAMPLES
from aign.options import Changeable, CheckedOptions, ImageSize, Samples, check_effect, make_absolute

ImageData = Literal["generated", "celeba", "london", "folder", "mnist"]
WORLD_SEED = 0
"""Images belong to the data, not to a run."""
NUM_FOR_JUDGE = {"generated": 1200, "mnist": 20_000}
"""Drawn faces of another world, or further training digits, for a judge to learn from."""
NUM_DIGITS = {"train": 20_000, "test": 2_000}
"""Digits that are read; of those of the test files one half is for validation."""

MOST_PIXELS = 2**36
"""Bytes of drawn faces that are held in memory."""

_drawn = lru_cache(maxsize=1)(generated_faces)  # checks of the data and the run itself draw the same faces


@dataclass(frozen=True, kw_only=True)
class ImageOptions(CheckedOptions):
    """Options that all tasks on images share: which images."""

    data: ImageData = "generated"
    """generated: drawn faces; celeba, london, mnist: real images in the folder named by AIGN_DATA; folder: your own."""
    source: Changeable[str] = ""
    """Where a folder of your own or CelebA lies: a local path or s3:// URI."""
    table: str = ""
    """Data `folder`: CSV file in it with attributes and landmarks of each file; attributes.csv if there is one."""
    size: ImageSize = 64
    """Width and height that images are resized to, px; MNIST's are 28."""
    num_images: Samples = 4000
    """Data `generated`: how many faces are drawn; 80 % are for training."""
    strict: bool = False
    """End at the first image file that is missing or cannot be read. Otherwise such files are skipped and counted."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data == "folder" and not self.source:
            raise NotTrainable("data = folder", "which one is not said", "add --source FOLDER")
        for option, kinds in (
            ("source", ("folder", "celeba")),
            ("table", ("folder",)),
            ("num_images", ("generated",)),
            ("strict", ("folder", "celeba", "london")),
            ("size", ("folder", "celeba", "london", "generated")),
        ):
            check_effect(self, option, self.data in kinds, f"with data {self.data!r}")
        pixels = 3 * self.size**2 * self.num_images
        if self.data == "generated" and pixels > MOST_PIXELS:
            reason = f"{self.num_images:,} images of this size are {pixels / 2**30:,.0f} GiB"
            raise NotTrainable(f"size = {self.size}", reason, f"stay below {MOST_PIXELS / 2**30:.0f} GiB")
        make_absolute(self, "source")

    def load(self) -> ImageSet:
        """All images of the data set. Raises UserError for data that is missing or unsound."""
        if self.data == "celeba":
            return load_celeba(self.source or None, size=self.size, strict=self.strict)
        if self.data == "london":
            return load_london_faces(size=self.size, strict=self.strict)
        if self.data == "folder":
            return load_image_folder(self.source, size=self.size, table=self.table or None, strict=self.strict)
        if self.data == "mnist":
            return _digits()
        return _drawn(self.num_images, WORLD_SEED, self.size)


@dataclass(frozen=True, kw_only=True)
class ChosenImages:
    """The images of a run, by what they are for."""

    inputs: ImageSet
    memories: ImageSet
    """Before the bias."""
    validation: ImageSet
    test: ImageSet
    name: str


def choose(images: ImageSet, bias: str) -> ChosenImages:
    """Parts of a set of images; the bias only decides which of two halves are memories, if one has too few.

    Raises UserError for a bias that is none, too few images, and a split that holds none.
    """
    halves = _halves(images.split("train"))
    if bias and selected(bias, halves[1].table).sum() < MIN_SAMPLES:  # all images of one person are in one half
        halves = halves[::-1]
    return ChosenImages(
        inputs=halves[0],
        memories=halves[1],
        validation=images.split("validation"),
        test=images.split("test"),
        name=images.name,
    )


def judge_training_images(data: ImageData, chosen: ChosenImages) -> ImageSet:
    """Images of people that no network is trained on, for a judge to learn from.

    Faces are drawn for it, of people who are in no split of a run, and of MNIST there are digits that no run reads. Of
    other data they are the validation images: what a judge says of images inferred there is less strict than what it
    says on the test split.
    """
    if data == "generated":
        return generated_faces(NUM_FOR_JUDGE["generated"], WORLD_SEED + 1, chosen.test.pixels.shape[-1])
    return _unread_digits() if data == "mnist" else chosen.validation


def with_numbers(images: ImageSet, columns: tuple[str, ...]) -> ImageSet:
    """The images that have a number in each of the columns. Raises UserError if a column is not there or none has."""
    known = has_numbers(images, columns)
    if not known.any():
        reason = f"have no {', '.join(columns)}"
        raise UserError(images.name, reason, "give a table with landmarks, or hide a box: --hidden box:40:16:60:48")
    return images if known.all() else _rows(images, known)


def has_numbers(images: ImageSet, columns: tuple[str, ...]) -> Bool[np.ndarray, " images"]:
    """Which images have a number in each of the columns."""
    return images.table.reindex(columns=list(columns)).notna().all(axis=1).to_numpy()


def _halves(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Two halves that share no person; without identities no image."""
    people = images.table["identity"] if "identity" in images.table else pd.Series(range(len(images)))
    names = people.astype(str)
    order = sorted(names.unique(), key=lambda name: (zlib.crc32(name.encode()), name))
    if len(order) < 2:
        raise UserError(images.name, "its train split shows one person only", "give images of more people")
    is_first = names.isin(order[::2]).to_numpy()
    return _rows(images, is_first), _rows(images, ~is_first)


def _rows(images: ImageSet, chosen: np.ndarray) -> ImageSet:
    index = np.flatnonzero(chosen)
    return replace(images, pixels=images.pixels[index], table=images.table.iloc[index].reset_index(drop=True))


def _digits() -> ImageSet:
    parts = [load_digits("train", NUM_DIGITS["train"], WORLD_SEED), load_digits("test", NUM_DIGITS["test"], WORLD_SEED)]
    half = NUM_DIGITS["test"] // 2
    splits = ["train"] * NUM_DIGITS["train"] + ["validation"] * half + ["test"] * (NUM_DIGITS["test"] - half)
    return digit_set("MNIST", parts, splits)


def _unread_digits() -> ImageSet:
    """Training digits after those that ``_digits`` reads."""
    read, count = NUM_DIGITS["train"], NUM_FOR_JUDGE["mnist"]
    digits = load_digits("train", read + count, WORLD_SEED)
    unread = replace(digits, images=digits.images[read:], labels=digits.labels[read:])
    return digit_set("MNIST", [unread], ["train"] * count)
