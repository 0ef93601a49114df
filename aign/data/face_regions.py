"""Parts of images that are hidden: of a face, found by its landmarks, or a box."""

import re
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from aign.data.image_streams import ImageBatch
from aign.errors import UserError

_PIXELS = re.compile("[0-9]{1,9}")
EYES, MOUTH = ("lefteye", "righteye"), ("leftmouth", "rightmouth")


@dataclass(frozen=True, kw_only=True)
class Region:
    """A box around the middle of some landmarks, measured in distances between the eyes.

    The eyes and not the landmarks themselves give the size: a box as wide as a smile would tell of it.
    """

    around: tuple[str, ...]
    half_width: float
    half_height: float
    up: float = 0.0
    """How far the box's middle lies above the landmarks'."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the table, that are needed."""
        return tuple(f"{name}_{axis}" for name in dict.fromkeys((*EYES, *self.around)) for axis in "xy")

    def mask(self, known: ImageBatch) -> Float[Tensor, "batch 1 height width"]:
        """0 where images are hidden, 1 elsewhere."""
        eyes_x, eyes_y = (known[f"righteye_{axis}"] - known[f"lefteye_{axis}"] for axis in "xy")
        unit = torch.hypot(eyes_x, eyes_y)
        x, y = (torch.stack([known[f"{name}_{axis}"] for name in self.around]).mean(0) for axis in "xy")
        y = y - self.up * unit
        half_width, half_height = self.half_width * unit, self.half_height * unit
        return box_mask(known["image"], x - half_width, y - half_height, x + half_width, y + half_height)


@dataclass(frozen=True, kw_only=True)
class Box:
    """Rows from ``top`` up to ``bottom``, columns from ``left`` up to ``right``, without the last."""

    top: int
    left: int
    bottom: int
    right: int
    columns: tuple[str, ...] = ()

    def mask(self, known: ImageBatch) -> Float[Tensor, "batch 1 height width"]:
        """0 where images are hidden, 1 elsewhere."""
        image = known["image"]
        mask = image.new_ones(len(image), 1, *image.shape[2:])
        mask[..., self.top : self.bottom, self.left : self.right] = 0
        return mask


REGIONS = {
    "mouth": Region(around=MOUTH, half_width=0.65, half_height=0.42),
    "nose": Region(around=("nose",), half_width=0.48, half_height=0.42, up=0.08),
    "eyes": Region(around=EYES, half_width=1.0, half_height=0.42),
}


def parse_hidden(spelling: str, size: int | None = None) -> Region | Box:
    """What is hidden: a name of ``REGIONS``, or ``box:TOP:LEFT:BOTTOM:RIGHT`` in pixels.

    Raises UserError for a spelling that means nothing, and for a box that is empty or not in images of ``size``.
    """
    if spelling in REGIONS:
        return REGIONS[spelling]
    kind, *numbers = spelling.split(":")
    if kind != "box" or len(numbers) != 4 or not all(map(_PIXELS.fullmatch, numbers)):
        remedy = f"use one of {', '.join(REGIONS)}, or box:TOP:LEFT:BOTTOM:RIGHT in pixels"
        raise UserError(f"hidden = {spelling}", "is no part of an image", remedy)
    top, left, bottom, right = map(int, numbers)
    if top >= bottom or left >= right or (size is not None and max(bottom, right) > size):
        within = f" in images of {size} x {size} px" if size is not None else ""
        raise UserError(f"hidden = {spelling}", f"is no box{within}", "give TOP < BOTTOM and LEFT < RIGHT inside")
    return Box(top=top, left=left, bottom=bottom, right=right)


def box_mask(
    images: Float[Tensor, "batch channels height width"], left: Tensor, top: Tensor, right: Tensor, bottom: Tensor
) -> Float[Tensor, "batch 1 height width"]:
    """0 in a box of each image, 1 elsewhere; edges (batch,) in pixels, which are in the box if their middles are."""
    height, width = images.shape[-2:]
    x = torch.arange(width, device=images.device)
    y = torch.arange(height, device=images.device)[:, None]
    left, top, right, bottom = (edge[:, None, None] for edge in (left, top, right, bottom))
    inside = (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
    return (~inside)[:, None].to(images.dtype)
