"""Image representations whose coefficients suit a robust loss better than pixels (Barron, CVPR 2019, section 3.1).

Each is a linear map of images (batch, channels, height, width) of any size to as many coefficients in the same shape,
with its inverse. All preserve volume (the determinant is 1 or -1), so that likelihoods of different representations
compare. A residual is transformed, as in ``loss(parse_representation("yuv+wavelet:5")(rendered - observed))``; mask it
before. Spelled for options, with + between:

    pixels         as they are
    yuv            from RGB to brightness and two colours; three channels
    dct            discrete cosine transform of the whole image, orthonormal
    wavelet:5      Cohen-Daubechies-Feauveau 9/7 wavelets, here on 5 levels
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from aign.errors import UserError

Image = Float[Tensor, "batch channels height width"]


class Representation(ABC):
    """A volume-preserving linear map of images; ``str`` of it is its spelling."""

    @abstractmethod
    def __call__(self, image: Image) -> Image:
        """Coefficients, in the image's unit."""

    @abstractmethod
    def inverse(self, coefficients: Image) -> Image:
        """The image with these coefficients."""

    @abstractmethod
    def __str__(self) -> str: ...


@dataclass(frozen=True)
class Pixels(Representation):
    """The image itself."""

    def __call__(self, image: Image) -> Image:
        return image

    def inverse(self, coefficients: Image) -> Image:
        return coefficients

    def __str__(self) -> str:
        return "pixels"


@dataclass(frozen=True)
class YUV(Representation):
    """Brightness and two colours of an RGB image (BT.601), all times 1.58 for a determinant of 1.

    Raises ValueError for images that have not three channels.
    """

    KERNEL: ClassVar = (
        (0.299, 0.587, 0.114),
        (-0.14714119, -0.28886916, 0.43601035),
        (0.61497538, -0.51496512, -0.10001026),
    )

    def __call__(self, image: Image) -> Image:
        return _mixed(image, _YUV)

    def inverse(self, coefficients: Image) -> Image:
        return _mixed(coefficients, _RGB)

    def __str__(self) -> str:
        return "yuv"


@dataclass(frozen=True)
class DCT(Representation):
    """Orthonormal discrete cosine transform (type II) along both sides of the whole image; low frequencies first."""

    def __call__(self, image: Image) -> Image:
        height, width = image.shape[-2:]
        return _cosines(image, height) @ image @ _cosines(image, width).mT

    def inverse(self, coefficients: Image) -> Image:
        height, width = coefficients.shape[-2:]
        return _cosines(coefficients, height).mT @ coefficients @ _cosines(coefficients, width)

    def __str__(self) -> str:
        return "dct"


@dataclass(frozen=True)
class Wavelet(Representation):
    """Cohen-Daubechies-Feauveau 9/7 wavelets, as in JPEG 2000, with whole-sample symmetric borders.

    Each level splits the low frequencies of the one before, which lie at the top left, into quarters: low and high
    along each side, low first; of an odd number one more is low. The low filter sums to sqrt 2, the high one to 0.
    Worked out by lifting (Daubechies and Sweldens, 1998), so no image is too small or odd, and the inverse is exact.

    Raises UserError for an image that has not so many levels: each halves its sides, until both are 1.
    """

    levels: int = 5

    def __post_init__(self) -> None:
        if self.levels < 1:
            raise UserError(f"wavelet:{self.levels}", "has no level", "give 1 or more, or write pixels")

    def __call__(self, image: Image) -> Image:
        sizes = self._sizes(image)
        result, low = image, image
        for height, width in sizes:
            low = _split(_split(low, -1), -2)
            result = low if low.shape == result.shape else _with_corner(result, low)
            low = low[..., : (height + 1) // 2, : (width + 1) // 2]
        return result

    def inverse(self, coefficients: Image) -> Image:
        result = coefficients
        for height, width in reversed(self._sizes(coefficients)):
            corner = _joined(_joined(result[..., :height, :width], -2), -1)
            result = corner if corner.shape == result.shape else _with_corner(result, corner)
        return result

    def __str__(self) -> str:
        return f"wavelet:{self.levels}"

    def _sizes(self, image: Image) -> list[tuple[int, int]]:
        """Height and width of what each level splits."""
        height, width = image.shape[-2:]
        most = math.ceil(math.log2(max(height, width)))
        if self.levels > most:
            reason, remedy = f"an image of {height} x {width} has {most} levels", "give no more than it has"
            raise UserError(f"representation = {self}", reason, remedy)
        sizes = [(height, width)]
        while len(sizes) < self.levels:
            height, width = (height + 1) // 2, (width + 1) // 2
            sizes.append((height, width))
        return sizes


@dataclass(frozen=True)
class Both(Representation):
    """One representation, then another."""

    first: Representation
    then: Representation

    def __call__(self, image: Image) -> Image:
        return self.then(self.first(image))

    def inverse(self, coefficients: Image) -> Image:
        return self.first.inverse(self.then.inverse(coefficients))

    def __str__(self) -> str:
        return f"{self.first}+{self.then}"


def parse_representation(spelling: str) -> Representation:
    """A representation from its spelling. Raises UserError for one that means nothing."""
    parts = [_parse_part(spelling, part) for part in spelling.strip().split("+")]
    whole = parts[0]
    for part in parts[1:]:
        whole = Both(whole, part)
    return whole


def _parse_part(spelling: str, part: str) -> Representation:
    kind, colon, levels = part.partition(":")
    if kind == "wavelet" and (not colon or levels.isdecimal()):
        return Wavelet(int(levels)) if colon else Wavelet()
    known: dict[str, Representation] = {"pixels": Pixels(), "yuv": YUV(), "dct": DCT()}
    if part not in known:
        value, reason = f"representation = {spelling}", f"{part!r} is none of {', '.join(known)}, wavelet:LEVELS"
        raise UserError(value, reason, "write for example yuv+wavelet:5")
    return known[part]


# --- colours ---------------------------------------------------------------------------------------------------------


def _unit_determinant(rows: tuple) -> tuple[list[list[float]], list[list[float]]]:
    """The matrix with determinant 1, and its inverse, in float64."""
    matrix = torch.tensor(rows, dtype=torch.float64)
    matrix = matrix / matrix.det() ** (1 / 3)
    return matrix.tolist(), matrix.inverse().tolist()


_YUV, _RGB = _unit_determinant(YUV.KERNEL)


def _mixed(image: Tensor, matrix: list[list[float]]) -> Tensor:
    """Written out, because a matrix would have to be carried to the device, for which the host would wait."""
    if image.shape[1] != 3:
        raise ValueError(f"yuv needs 3 channels, not {image.shape[1]}")
    red, green, blue = image.unbind(1)
    return torch.stack([a * red + b * green + c * blue for a, b, c in matrix], dim=1)


# --- cosines ---------------------------------------------------------------------------------------------------------


def _cosines(like: Tensor, size: int) -> Tensor:
    """(frequencies, places), orthonormal; made on the device, of what is nothing beside the image."""
    index = torch.arange(size, device=like.device)
    turns = index[:, None] * (2 * index + 1) % (4 * size)  # whole quarters of a period, before rounding can touch them
    matrix = (turns.to(like.dtype) * (math.pi / (2 * size))).cos() * math.sqrt(2 / size)
    return torch.where(index[:, None] == 0, math.sqrt(1 / size), matrix)


# --- wavelets --------------------------------------------------------------------------------------------------------

_LIFTS = (-1.5861343420599235, -0.0529801185729614, 0.8829110755309333, 0.4435068520439711)
"""Each adds its multiple of both neighbours, to the odd places and to the even ones in turn."""
_GAIN = 1.1496043988602418
"""Makes the low filter sum to sqrt 2 and divides the high one."""


def _split(signal: Tensor, dim: int) -> Tensor:
    """One level along one side: low frequencies, then high ones."""
    size = signal.shape[dim]
    if size == 1:
        return signal
    low, high = _every_second(signal, dim, 0), _every_second(signal, dim, 1)
    for step, factor in enumerate(_LIFTS):
        if step % 2 == 0:
            high = high + factor * _neighbours_of_high(low, dim, size)
        else:
            low = low + factor * _neighbours_of_low(high, dim, size)
    low_gain, high_gain = _gains(size)
    return torch.cat([low * low_gain, high * high_gain], dim=dim)


def _joined(split: Tensor, dim: int) -> Tensor:
    """The inverse of :func:`_split`: the same steps, backwards."""
    size = split.shape[dim]
    if size == 1:
        return split
    low_gain, high_gain = _gains(size)
    low, high = split.tensor_split([(size + 1) // 2], dim=dim)
    low, high = low / low_gain, high / high_gain
    for step, factor in reversed(list(enumerate(_LIFTS))):
        if step % 2 == 0:
            high = high - factor * _neighbours_of_high(low, dim, size)
        else:
            low = low - factor * _neighbours_of_low(high, dim, size)
    count, axis = size // 2, dim % split.dim()
    woven = torch.stack([low.narrow(dim, 0, count), high], dim=axis + 1).flatten(axis, axis + 1)
    return torch.cat([woven, low.narrow(dim, count, 1)], dim=dim) if size % 2 else woven


def _gains(size: int) -> tuple[float, float]:
    """Of low and high frequencies. Of an odd size one more is low, and all give way a little to keep the volume."""
    even = _GAIN ** (-1 / size) if size % 2 else 1.0
    return _GAIN * even, even / _GAIN


def _every_second(signal: Tensor, dim: int, start: int) -> Tensor:
    return signal[..., start::2] if dim == -1 else signal[..., start::2, :]


def _neighbours_of_high(low: Tensor, dim: int, size: int) -> Tensor:
    """The sum of the low places left and right of each high one; beyond the border the signal is mirrored."""
    count = size // 2
    if size % 2:
        after = low.narrow(dim, 1, count)
    else:
        after = torch.cat([low.narrow(dim, 1, count - 1), low.narrow(dim, count - 1, 1)], dim=dim)
    return low.narrow(dim, 0, count) + after


def _neighbours_of_low(high: Tensor, dim: int, size: int) -> Tensor:
    count = size // 2
    before = torch.cat([high.narrow(dim, 0, 1), high], dim=dim)  # one place more than high has
    after = torch.cat([high, high.narrow(dim, count - 1, 1)], dim=dim)
    low = (size + 1) // 2
    return before.narrow(dim, 0, low) + after.narrow(dim, 0, low)


def _with_corner(image: Tensor, corner: Tensor) -> Tensor:
    """The image with its top left replaced."""
    height, width = corner.shape[-2:]
    top = torch.cat([corner, image[..., :height, width:]], dim=-1)
    return torch.cat([top, image[..., height:, :]], dim=-2)
