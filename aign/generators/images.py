"""Networks that imagine images: sharper ones (paper, appendix B.3), whole ones (B.4), and what they are compared with.

All of them give images in (0, 1).
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

Upsampling = Literal["resize", "deconvolution"]
_REACHES, _NEARER = (32, 16, 8, 4), 30.0
"""Neighbourhoods as parts of an image's height, and how many times more each counts than the next wider one."""
_DARKEST = 1 / 255
"""The logit of a pixel is taken of what lies this far within (0, 1)."""


class SuperResolver(nn.Module):
    """A convolution, residual blocks and two doublings: an image of four times the size (appendix B.3).

    observed   image (batch, channels, height, width) in [0, 1]
    inferred   image (batch, channels, 4 height, 4 width)

    With ``upsampling`` "deconvolution" as in the paper. With "resize" doublings are nearest neighbours and a
    convolution, which leaves no checkerboard (Odena, Dumoulin and Olah, Distill 2016), and the network changes the
    observed image enlarged instead of drawing all of it.
    """

    def __init__(self, channels: int, *, width: int, num_blocks: int, upsampling: Upsampling) -> None:
        super().__init__()
        self.changes_observed = upsampling == "resize"
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            *(_ResidualBlock(width) for _ in range(num_blocks)),
            _doubling(width, width, upsampling),
            nn.ReLU(),
            _doubling(width, width // 2, upsampling),
            nn.ReLU(),
            nn.Conv2d(width // 2, channels, 3, padding=1),
        )

    def forward(self, observed: dict[str, Tensor]) -> dict[str, Tensor]:
        image = observed["image"]
        logits = self.layers(2 * image - 1).float()
        if self.changes_observed:
            large = interpolate(image, logits.shape[-2:], mode="bilinear", align_corners=False)
            logits = logits + _logit(large)
        return {"image": logits.sigmoid()}


class Inpainter(nn.Module):
    """Image and mask through two convolutions each, joined, then three deconvolutions (appendix B.4).

    observed   image (batch, channels, height, width) in [0, 1], black where mask (batch, 1, height, width) is 0
    inferred   whole, the network's image; image, with the observed over it where it is visible

    ``num_blocks`` residual blocks between see further around a hole; the paper has none. ``upsampling`` as in
    SuperResolver: with "resize" the network changes what is visible, and behind the mask the colours around it
    (``filled``). Sides are multiples of four.
    """

    def __init__(self, channels: int, *, width: int, num_blocks: int, upsampling: Upsampling) -> None:
        super().__init__()
        self.changes_observed = upsampling == "resize"
        self.image_branch, self.mask_branch = _branch(channels, width), _branch(1, width // 2)
        joined = width + width // 2
        self.joined = nn.Sequential(
            nn.Conv2d(joined, width, 1) if num_blocks else nn.Identity(),
            *(_ResidualBlock(width) for _ in range(num_blocks)),
            _doubling(width if num_blocks else joined, width, upsampling),
            nn.ReLU(),
            _doubling(width, width // 2, upsampling),
            nn.ReLU(),
            (nn.Conv2d if upsampling == "resize" else nn.ConvTranspose2d)(width // 2, channels, 3, padding=1),
        )

    def forward(self, observed: dict[str, Tensor]) -> dict[str, Tensor]:
        image, mask = observed["image"], observed["mask"]
        branches = self.image_branch(2 * image - 1), self.mask_branch(mask)
        logits = self.joined(torch.cat(branches, 1)).float()
        if self.changes_observed:
            logits = logits + _logit(filled(observed))
        return completed(logits.sigmoid(), observed)


class DenseInpainter(nn.Module):
    """As Inpainter, of fully connected layers: for images of one size, (channels, height, width) (appendix A)."""

    def __init__(self, size: tuple[int, int, int], *, width: int) -> None:
        super().__init__()
        self.layers = _dense(math.prod(size) + math.prod(size[1:]), width, size)

    def forward(self, observed: dict[str, Tensor]) -> dict[str, Tensor]:
        together = torch.cat([observed["image"].flatten(1), observed["mask"].flatten(1)], 1)
        return completed(self.layers(together).float().sigmoid(), observed)


class WithDecoder(nn.Module):
    """A network and a decoder that learns to give what was observed from the factor ``reads``: ``rendered``.

    What the paper compares renderers with (section 3.3, "Renderers versus parametric decoders"; appendix A).
    """

    def __init__(self, network: nn.Module, decoder: nn.Module, *, reads: str) -> None:
        super().__init__()
        self.network, self.decoder, self.reads = network, decoder, reads

    def forward(self, observed: dict[str, Tensor]) -> dict[str, Tensor]:
        inferred = self.network(observed)
        return {**inferred, "rendered": self.decoder(inferred[self.reads]).float().sigmoid()}


def decoder(channels: int, *, width: int, shrinks: bool) -> nn.Sequential:
    """Logits of an image from an image: two convolutions that halve it and, unless it ``shrinks``, two doublings."""
    grow = [] if shrinks else [layer for _ in "12" for layer in (_doubling(width, width, "deconvolution"), nn.ReLU())]
    return nn.Sequential(*_branch(channels, width), *grow, nn.Conv2d(width, channels, 3, padding=1))


def dense_decoder(size: tuple[int, int, int], *, width: int) -> nn.Sequential:
    """As ``decoder``, of fully connected layers."""
    return _dense(math.prod(size), width, size)


def completed(whole: Float[Tensor, "batch channels height width"], observed: dict[str, Tensor]) -> dict[str, Tensor]:
    """The factors of inpainting: the whole image as imagined, and with what is visible superimposed (Figure 6)."""
    return {"image": torch.where(observed["mask"] > 0, observed["image"], whole), "whole": whole}


def filled(observed: dict[str, Tensor]) -> Float[Tensor, "batch channels height width"]:
    """What is visible, and where nothing is the colours around it, the nearest counting most.

    Further inside a hole than a quarter of the height it is the mean colour of all that is visible.
    """
    image, mask = observed["image"], observed["mask"]
    mean = image.sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True).clamp(min=1)
    far = _NEARER ** -len(_REACHES)
    around, visible = far * mean, torch.full_like(mask, far)
    for i, part in enumerate(_REACHES):
        reach = max(1, image.shape[-2] // part)
        around = around + _NEARER**-i * _box_blurred(image, reach)
        visible = visible + _NEARER**-i * _box_blurred(mask, reach)
    return torch.where(mask > 0, image, around / visible)


def _box_blurred(images: Tensor, reach: int) -> Tensor:
    """The mean within ``reach`` pixels to each side, black counted outside the image: first along one axis."""
    rows = avg_pool2d(images, (2 * reach + 1, 1), stride=1, padding=(reach, 0))
    return avg_pool2d(rows, (1, 2 * reach + 1), stride=1, padding=(0, reach))


def initialise(network: nn.Module, variance: float) -> None:
    """Weights of layers from a normal distribution cut at two deviations, no bias (appendix B.3 and B.4)."""
    deviation = math.sqrt(variance)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _logit(images: Tensor) -> Tensor:
    return images.clamp(_DARKEST, 1 - _DARKEST).logit()


class _ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        # batch norm takes the mean away, so a bias before it would have no effect
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, features: Float[Tensor, "batch width rows columns"]) -> Tensor:
        return features + self.layers(features)


def _branch(channels: int, width: int) -> nn.Sequential:
    """Two convolutions that halve the sides."""
    return nn.Sequential(
        nn.Conv2d(channels, width // 2, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width // 2, width, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
    )


def _doubling(before: int, after: int, upsampling: Upsampling) -> nn.Module:
    if upsampling == "deconvolution":
        return nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1))


def _dense(num_inputs: int, width: int, size: tuple[int, int, int]) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(num_inputs, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, math.prod(size)),
        nn.Unflatten(1, size),
    )
