"""Pinhole cameras and rotations. Camera frame: x right, y down, z forward; pixel (0, 0) is a pixel's centre."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

NEAR_MM = 100.0
"""Points closer than this (or behind the camera) are not seen."""


def rotation_from_euler(angles_rad: Float[Tensor, "batch 3"]) -> Float[Tensor, "batch 3 3"]:
    """R = Rx(a) Ry(b) Rz(c)^T of the paper (section 2.1), from angles in radians."""
    (sin_a, sin_b, sin_c), (cos_a, cos_b, cos_c) = angles_rad.sin().unbind(-1), angles_rad.cos().unbind(-1)
    rows = (
        *(cos_b * cos_c, cos_b * sin_c, sin_b),
        *(sin_a * sin_b * cos_c - cos_a * sin_c, cos_a * cos_c + sin_a * sin_b * sin_c, -sin_a * cos_b),
        *(-sin_a * sin_c - cos_a * sin_b * cos_c, sin_a * cos_c - cos_a * sin_b * sin_c, cos_a * cos_b),
    )
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def rotation_from_6d(columns: Float[Tensor, "batch 6"]) -> Float[Tensor, "batch 3 3"]:
    """The continuous representation of Zhou et al. (CVPR 2019): Gram-Schmidt on two columns."""
    x = normalize(columns[:, :3], dim=-1)
    y = normalize(columns[:, 3:] - (x * columns[:, 3:]).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


def project(
    points_mm: Float[Tensor, "batch joints 3"], focal_px: Float[Tensor, " batch"], image_size: int
) -> tuple[Float[Tensor, "batch joints 2"], Bool[Tensor, "batch joints"]]:
    """Perspective projection x = P X in homogeneous coordinates, P = diag(f, f, 1), onto a square image.

    Returns keypoints in pixels and which of them are in front of the camera; the others are drawn as if they were
    at ``NEAR_MM``, which keeps them finite, and must not be trusted.
    """
    xy, z = points_mm[..., :2], points_mm[..., 2:]
    in_front = z > NEAR_MM
    centre = (image_size - 1) / 2
    keypoints = focal_px[:, None, None] * xy / torch.where(in_front, z, NEAR_MM) + centre
    return keypoints, in_front[..., 0]


def centre_and_spread(
    keypoints_px: Float[Tensor, "batch joints 2"],
) -> tuple[Float[Tensor, "batch 2"], Float[Tensor, " batch"]]:
    """Mean of the keypoints and their root-mean-square distance from it, in pixels (at least one)."""
    centre = keypoints_px.mean(1)
    spread = (keypoints_px - centre[:, None]).square().sum(-1).mean(-1).sqrt()
    return centre, spread.clamp(min=1.0)
