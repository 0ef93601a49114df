"""Images of ten kinds: real handwritten digits, and generated scribbles that stand in for them.

Real: MNIST (LeCun, Cortes and Burges), ``$AIGN_DATA/mnist/{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz``.
"""

import gzip
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from aign.data.data_root import data_file
from aign.data.images import ImageSet
from aign.errors import UserError

SIZE = 28
NUM_KINDS = 10
Split = Literal["train", "test"]
_FILES: dict[Split, str] = {"train": "train", "test": "t10k"}


@dataclass(frozen=True)
class Digits:
    name: str
    images: Float[Tensor, "samples 28 28"]
    """0 (ground) to 1 (ink)."""
    labels: Int[Tensor, " samples"]
    """0 to 9."""


def load_digits(split: Split, num_samples: int, seed: int) -> Digits:
    """``num_samples`` real digits, drawn from the split by the seed.

    Raises UserError for a missing, truncated or other file, labels that do not fit, and more samples than there are.
    """
    images_path, labels_path = (
        data_file("mnist", f"{_FILES[split]}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1")
    )
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.shape[1:] != (SIZE, SIZE):
        raise UserError(images_path, f"images have shape {tuple(images.shape)}", f"expected (samples, {SIZE}, {SIZE})")
    if labels.shape != images.shape[:1] or labels.max() >= NUM_KINDS:
        raise UserError(labels_path, f"not {len(images)} labels from 0 to 9", "copy both files of a split again")
    if num_samples > len(images):
        raise UserError(f"{num_samples:,} digits", f"the {split} split has {len(images)}", "ask for fewer")
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:num_samples]
    return Digits(f"MNIST {split}", images[chosen].float() / 255, labels[chosen].long())


def read_idx(path: Path) -> UInt8[Tensor, "*_"]:
    """A gzipped idx file of bytes: two zeros, type 8, the number of axes, their sizes (big-endian), the values.

    Raises UserError for a missing, truncated or other file.
    """
    remedy = "copy it again, it may be truncated"
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise UserError(path, "no such file", "give the path of a gzipped idx file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(path, f"not a readable gzip file ({error})", remedy) from None
    axes = content[3] if len(content) > 3 else 0
    head = 4 + 4 * axes
    if content[:3] != b"\0\0\x08" or not axes or len(content) < head:
        raise UserError(path, "not an idx file of bytes", remedy)
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, head, 4)]
    if len(content) - head != math.prod(shape) or not math.prod(shape):
        raise UserError(path, f"holds {len(content) - head} of {math.prod(shape)} values", remedy)
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=head).view(shape)


def digit_set(name: str, digits: Sequence[Digits], splits: Sequence[str]) -> ImageSet:
    """Digits as one set of images with the column ``label``; ``splits`` has the split of each image."""
    images, labels = (torch.cat([getattr(part, field) for part in digits]) for field in ("images", "labels"))
    pixels = images.mul(255).round().byte()[:, None]
    return ImageSet(name=name, pixels=pixels, table=pd.DataFrame({"label": labels.numpy(), "split": list(splits)}))


def generated_digits(num_samples: int, seed: int) -> Digits:
    """Generated scribbles, not digits: ten random closed curves, the same for every seed, drawn by many hands.

    A sample is its kind's curve (Fourier series of order 3) with each coefficient changed a little, then turned,
    sized, sheared and shifted a little, drawn with a soft pen. Kinds are equally frequent.
    """
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_samples) % NUM_KINDS
    order = 3
    falling = torch.arange(1, order + 1)[:, None, None] ** -0.5
    kinds = falling * torch.randn(NUM_KINDS, order, 2, 2, generator=torch.Generator().manual_seed(7))
    kinds = kinds / kinds.square().sum((1, 2, 3), keepdim=True).sqrt()
    hands = kinds[labels] + 0.09 * falling * torch.randn(num_samples, order, 2, 2, generator=rng)
    time = torch.arange(1, order + 1)[:, None] * torch.linspace(0, 2 * math.pi, 64)
    curves = torch.einsum("nkwa,kwt->nta", hands, torch.stack([time.cos(), time.sin()], 1))
    bent = torch.eye(2) + 0.1 * torch.randn(num_samples, 2, 2, generator=rng)
    places = 0.5 * SIZE * (0.65 * curves @ bent + 0.025 * torch.randn(num_samples, 1, 2, generator=rng) + 1)
    return Digits("generated scribbles", _drawn(places), labels)


def _drawn(places: Float[Tensor, "samples points 2"], pen_px: float = 0.9) -> Float[Tensor, "samples 28 28"]:
    """Ink along the points (x, y in pixels), which the pen spreads as a Gaussian."""
    spread = (-0.5 * ((places[..., None] - torch.arange(SIZE)) / pen_px).square()).exp()
    return torch.einsum("npy,npx->nyx", spread[:, :, 1], spread[:, :, 0]).clamp(max=1)
