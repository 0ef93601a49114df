"""How alike two images are, one number a sample. Images are in [0, 1]; what is outside counts as the nearer end."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d

from aign.errors import UserError

Images = Float[Tensor, "batch channels height width"]

WINDOW_PX, WINDOW_DEVIATION_PX = 11, 1.5
"""The Gaussian window of SSIM."""
K1, K2 = 0.01, 0.03
"""What keeps SSIM's quotients stable, in parts of the range of values."""


def psnr_db(images: Images, truth: Images) -> Float[Tensor, " batch"]:
    """Peak signal-to-noise ratio, 10 log10 (1 / mean squared error), dB: more is better, infinite for equal images."""
    error = (images.clamp(0, 1) - truth.clamp(0, 1)).square().flatten(1).mean(1)
    return -10 * error.log10()


def ssim(images: Images, truth: Images) -> Float[Tensor, " batch"]:
    """Structural similarity (Wang et al. 2004, Eq. 13), mean over places and channels: 1 for equal images, else less.

    Means, variances and covariance are those under a Gaussian window of 11 x 11 pixels, standard deviation 1.5, at
    every place where it fits. Raises UserError for images smaller than that.
    """
    if min(images.shape[-2:]) < WINDOW_PX:
        reason = f"SSIM looks through a window of {WINDOW_PX} x {WINDOW_PX} pixels"
        raise UserError(f"images of {tuple(images.shape[-2:])} pixels", reason, "use larger images")
    a, b = images.clamp(0, 1), truth.clamp(0, 1)
    mean_a, mean_b, aa, bb, ab = (_blurred(values) for values in (a, b, a * a, b * b, a * b))
    variances = aa - mean_a.square() + bb - mean_b.square()
    covariance = ab - mean_a * mean_b
    brightness = (2 * mean_a * mean_b + K1**2) / (mean_a.square() + mean_b.square() + K1**2)
    return (brightness * (2 * covariance + K2**2) / (variances + K2**2)).flatten(1).mean(1)


def _blurred(images: Images) -> Float[Tensor, "batch channels low_height low_width"]:
    """Under the window at every place where it fits: first along one side, then along the other."""
    channels = images.shape[1]
    place = torch.arange(WINDOW_PX, device=images.device, dtype=images.dtype) - (WINDOW_PX - 1) / 2
    window = (-0.5 * (place / WINDOW_DEVIATION_PX).square()).exp()
    window = (window / window.sum()).expand(channels, 1, 1, -1)
    return conv2d(conv2d(images, window, groups=channels), window.mT, groups=channels)
