"""Keypoints drawn as images."""

import torch
from jaxtyping import Float
from torch import Tensor


def gaussian_heatmaps(
    keypoints_px: Float[Tensor, "batch joints 2"], image_size: int, heatmap_size: int, variance: float
) -> Float[Tensor, "batch joints size size"]:
    """One Gaussian bump of height 1 around each keypoint (supplement, section 2.1).

    ``variance`` is in heatmap pixels squared. A keypoint outside the image leaves its map (nearly) empty.
    """
    centre = (keypoints_px + 0.5) * (heatmap_size / image_size) - 0.5
    grid = torch.arange(heatmap_size, device=centre.device, dtype=centre.dtype)
    bumps = torch.exp(-(grid - centre[..., None]).square() / (2 * variance))  # (batch, joints, xy, size): separable
    return bumps[:, :, 1, :, None] * bumps[:, :, 0, None, :]
