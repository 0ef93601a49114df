"""A variational autoencoder of images of any size (Kingma and Welling, 2014)."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from aign.losses.likelihoods import Likelihood

SMALLEST = 4
"""Sides are halved until they are this small, px."""
MOST_CHANNELS = 4
"""Each halving doubles the channels, up to so many times ``width``."""
LOG_VARIANCE = 10.0
"""Log variances of latents stay between minus this and this, so that none overflows before the network has learnt."""


class VAE(nn.Module):
    """Encoder, decoder, and the distribution of what the decoder misses.

    observed   image (batch, channels, height, width) in [0, 1]; noise (batch, latents), standard normal or, for the
               middle of what may be inferred, zero; optionally prior_noise of the same kind
    inferred   latent_mean and latent_log_variance (batch, latents); image, decoded from latents drawn with the noise;
               imagined, decoded from prior_noise where there is any

    All randomness is in what is observed. ``likelihood`` maps residuals of some representation to -log p; it is only
    kept here, so that what it learns is learnt with the networks.
    """

    def __init__(self, size: tuple[int, int, int], *, latent_size: int, width: int, likelihood: Likelihood) -> None:
        super().__init__()
        channels, height, width_px = size
        sides = _halved((height, width_px))
        widths = [min(2**i, MOST_CHANNELS) * width for i in range(len(sides) - 1)]
        self.encoder = _encoder(channels, widths, sides[-1], latent_size)
        self.decoder = _Decoder(channels, widths, sides, latent_size)
        self.likelihood: Likelihood = likelihood

    def forward(self, observed: dict[str, Tensor]) -> dict[str, Tensor]:
        mean, log_variance = self.encoder(2 * observed["image"] - 1).float().chunk(2, dim=-1)
        log_variance = LOG_VARIANCE * torch.tanh(log_variance / LOG_VARIANCE)
        latent = mean + (0.5 * log_variance).exp() * observed["noise"]
        inferred = {"latent_mean": mean, "latent_log_variance": log_variance, "image": self.decode(latent)}
        if "prior_noise" in observed:
            inferred["imagined"] = self.decode(observed["prior_noise"])
        return inferred

    def decode(self, latent: Float[Tensor, "batch latents"]) -> Float[Tensor, "batch channels height width"]:
        """The image that latents stand for, in and somewhat around [0, 1].

        Nothing holds it there: where it were held, a network would go too far for the calm it finds at the limit.
        """
        return self.decoder(latent).float() + 0.5


class _Decoder(nn.Module):
    """Latents to an image, coarse to fine: every size adds its part (Karras et al., StyleGAN2, CVPR 2020).

    So colours have parameters of their own; else a loss that weighs fine detail most leaves them unlearnt.
    """

    def __init__(self, channels: int, widths: list[int], sides: list[tuple[int, int]], latent_size: int) -> None:
        super().__init__()
        height, width = sides[-1]
        self.first = nn.Sequential(
            nn.Linear(latent_size, widths[-1] * height * width), nn.Unflatten(1, (widths[-1], height, width))
        )
        coarse_first = [*reversed(widths), widths[0]]
        self.grow = nn.ModuleList(
            _Grow(before, after, larger)
            for (before, after), larger in zip(pairwise(coarse_first), reversed(sides[:-1]), strict=True)
        )
        self.parts = nn.ModuleList(nn.Conv2d(width, channels, 3, padding=1) for width in coarse_first)

    def forward(self, latent: Float[Tensor, "batch latents"]) -> Float[Tensor, "batch channels height width"]:
        features = self.first(latent)
        image = self.parts[0](features)
        for grow, part in zip(self.grow, self.parts[1:], strict=True):  # type: ignore[arg-type]
            features = grow(features)
            image = interpolate(image, features.shape[-2:], mode="bilinear", align_corners=False) + part(features)
        return image


class _Grow(nn.Module):
    """Twice as large, or a pixel less where the encoder halved an odd side."""

    def __init__(self, before: int, after: int, sides: tuple[int, int]) -> None:
        super().__init__()
        self.sides = sides
        self.convolution = nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)

    def forward(
        self, features: Float[Tensor, "batch before height width"]
    ) -> Float[Tensor, "batch after new_height new_width"]:
        height, width = self.sides
        return self.convolution(leaky_relu(features, 0.2))[..., :height, :width]


def _encoder(channels: int, widths: list[int], last: tuple[int, int], latent_size: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise([channels, *widths]):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * last[0] * last[1], 2 * latent_size))


def _halved(sides: tuple[int, int]) -> list[tuple[int, int]]:
    """Sides of an image, and of what each convolution makes of it; there is at least one."""
    found = [sides]
    while len(found) == 1 or max(found[-1]) > SMALLEST:
        height, width = found[-1]
        found.append(((height + 1) // 2, (width + 1) // 2))
    return found
