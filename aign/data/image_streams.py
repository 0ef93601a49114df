"""Images as streams and memories. They stay bytes on the device, a quarter of floats; a batch becomes floats."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import pad

from aign.data.images import ImageSet
from aign.data.streams import Plan, Sample
from aign.device import to_device
from aign.errors import UserError
from aign.memories import Memory

ImageBatch = dict[str, Tensor]
"""``image``, (batch, channels, height, width) in [0, 1], and numbers of its row of the table, (batch,) each."""
Observe = Callable[[ImageBatch, Tensor], dict[str, Tensor]]
"""What is observed of some images, given random numbers (batch, ``num_random``) in [0, 1)."""
FIXED_SEED = 0
"""What is observed of test images belongs to the data, not to a run."""


def _itself(known: ImageBatch, random: Tensor) -> dict[str, Tensor]:
    return {"image": known["image"]}


class ImageStream:
    """Random images of a set, drawn with replacement, and what is observed of them.

    ``observe`` makes what is observed of the images, the table's ``columns`` and ``num_random`` random numbers; without
    it the image itself is. With ``num_noise``, ``noise`` (batch, ``num_noise``) is observed too: standard normal
    numbers that a generator samples with. With ``labelled`` the image and the columns are the truth.

    Raises UserError for columns that are not there or lack a number in some row.
    """

    def __init__(
        self,
        images: ImageSet,
        device: torch.device | str = "cpu",
        *,
        columns: Sequence[str] = (),
        observe: Observe = _itself,
        num_random: int = 0,
        num_noise: int = 0,
        labelled: bool = False,
    ) -> None:
        self.pixels = images.pixels.to(device)
        self.numbers = numbers_of(images, columns, device)
        self.observe, self.num_random, self.num_noise, self.labelled = observe, num_random, num_noise, labelled

    def plan(self, size: int, rng: np.random.Generator) -> Plan:
        return self._plan(rng.integers(len(self.pixels), size=size), rng)

    def load(self, plan: Plan) -> Sample:
        plan = to_device(plan, self.pixels.device)
        known = {name: rows[plan["index"]] for name, rows in self.numbers.items()}
        known["image"] = as_floats(self.pixels[plan["index"]])
        observed = self.observe(known, plan["random"])
        if self.num_noise:
            observed = {**observed, "noise": plan["noise"]}
        return {"observed": observed, **({"truth": known} if self.labelled else {})}

    def fixed(self, count: int) -> Sample:
        """``count`` images of the set (all, if there are fewer), evenly spread: the same for every run and seed."""
        index = np.linspace(0, len(self.pixels) - 1, min(count, len(self.pixels))).round().astype(np.int64)
        return self.load(self._plan(index, np.random.default_rng(FIXED_SEED)))

    def _plan(self, index: np.ndarray, rng: np.random.Generator) -> Plan:
        return {
            "index": torch.from_numpy(index),
            "random": torch.from_numpy(rng.random((len(index), self.num_random), dtype=np.float32)),
            "noise": torch.from_numpy(rng.standard_normal((len(index), self.num_noise), dtype=np.float32)),
        }


def image_memory(images: ImageSet, device: torch.device | str = "cpu", *, bias: str | None = None) -> Memory:
    """True images as memories of the factor ``image``, (batch, channels, height, width) in [0, 1].

    ``bias`` is an expression over the set's table (see ``aign.data.bias``) that says which of them are remembered; None
    remembers all. Raises UserError if it selects too few.
    """
    if bias is not None:
        images = images.where(bias)
    return Memory({"image": images.pixels.to(device)}, bias=bias or images.name, augment=_augmented)


def as_floats(pixels: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Bytes as numbers in [0, 1]."""
    return pixels.float().div_(255)


def shifted(
    images: Float[Tensor, "batch channels height width"], random: Float[Tensor, "batch 2"], reach_px: int
) -> Float[Tensor, "batch channels height width"]:
    """Each image moved by up to ``reach_px`` whole pixels down or up, right or left, and zeros where it was.

    All moves are equally probable where the random numbers in [0, 1) are.
    """
    windows = pad(images, [reach_px] * 4).unfold(2, images.shape[2], 1).unfold(3, images.shape[3], 1)
    down, right = (random * (2 * reach_px + 1)).long().unbind(1)
    return windows[torch.arange(len(images), device=images.device), :, down, right]


def numbers_of(images: ImageSet, columns: Sequence[str], device: torch.device | str) -> dict[str, Tensor]:
    """Columns of a table as float32 tensors, one number an image.

    Raises UserError for a column that is not there, is no number, or lacks one in some row.
    """
    numbers = {}
    for name in columns:
        if name not in images.table:
            known = ", ".join(map(str, images.table.columns))
            raise UserError(f"column {name}", f"{images.name} has none of this name", f"choose one of {known}")
        try:
            values = images.table[name].to_numpy(np.float32, copy=True)
        except ValueError:
            raise UserError(f"column {name}", f"of {images.name} holds no numbers", "choose another column") from None
        if not np.isfinite(values).all():
            missing = (~np.isfinite(values)).sum()
            raise UserError(
                f"column {name}", f"lacks {missing:,} of {len(values):,} numbers", "select images that have it"
            )
        numbers[name] = torch.from_numpy(values).to(device)
    return numbers


def _augmented(drawn: dict[str, Tensor], random: Tensor) -> dict[str, Tensor]:
    return {"image": as_floats(drawn["image"])}
