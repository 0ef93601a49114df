"""Which way a body faces, from its two hips and neck: the frame that poses are aligned to."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from aign.renderers.skeleton import Skeleton


def root_relative(joints: Float[Tensor, "batch joints 3"], skeleton: Skeleton) -> Float[Tensor, "batch joints 3"]:
    """Joints relative to the skeleton's root, in the same units."""
    return joints - joints[:, skeleton.root, None]


def facing_rotation(joints: Float[Tensor, "batch joints 3"], skeleton: Skeleton) -> Float[Tensor, "batch 3 3"]:
    """The turn about the vertical (y) that makes the hip normal point at the camera (-z), the left hip at +x.

    Paper, section 2.1: the shape basis is built from poses aligned by the normal to the hip vector.
    """
    hips = joints[:, skeleton.left_hip] - joints[:, skeleton.right_hip]
    y = torch.eye(3, dtype=hips.dtype, device=hips.device)[1].expand_as(hips)
    x = normalize(hips * (1 - y), dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=1)


def torso_rotation(joints: Float[Tensor, "batch joints 3"], skeleton: Skeleton) -> Float[Tensor, "batch 3 3"]:
    """The rotation that brings the whole torso upright and frontal: hips along x, spine in the x-y plane.

    Paper, section 3.1: the reconstruction error is measured after torsos are aligned to face the front.
    """
    x = normalize(joints[:, skeleton.left_hip] - joints[:, skeleton.right_hip], dim=-1)
    down = joints[:, skeleton.root] - joints[:, skeleton.neck]
    z = normalize(torch.linalg.cross(x, down), dim=-1)
    return torch.stack([x, torch.linalg.cross(z, x), z], dim=1)


def rotate(
    rotation: Float[Tensor, "batch 3 3"], joints: Float[Tensor, "batch joints 3"]
) -> Float[Tensor, "batch joints 3"]:
    """R x for every joint."""
    return joints @ rotation.mT
