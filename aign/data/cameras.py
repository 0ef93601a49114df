"""Random cameras that look at a person, and what they see: crops centred about a detection."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from aign.renderers.camera import project, rotation_from_euler
from aign.renderers.torso import rotate

NUM_RANDOM = 7
"""Random numbers in [0, 1) that make one camera."""

PITCH_RAD = (math.radians(-5), math.radians(20))
ROLL_RAD = (math.radians(-5), math.radians(5))
FOCAL = (0.95, 1.6)
"""Focal length in image sizes."""
FIELD_MM = (2400.0, 3200.0)
"""How much of the world the image covers at the person's depth."""
OFF_CENTRE = 0.04
"""How far the root may lie from the image's centre, in image sizes."""


def random_cameras(random: Float[Tensor, "batch 7"], image_size: int) -> dict[str, Tensor]:
    """Rotation (camera from canonical body), translation of the root in mm, focal length in px.

    The person turns all the way round; the camera pitches and rolls a little.
    """
    yaw, pitch, roll, focal, field, dx, dy = random.unbind(-1)
    none = torch.zeros_like(yaw)
    turn = torch.stack([none, 2 * math.pi * yaw, none], dim=-1)
    tilt = torch.stack([_between(PITCH_RAD, pitch), none, _between(ROLL_RAD, roll)], dim=-1)
    tilted, turned = rotation_from_euler(torch.cat([tilt, turn])).chunk(2)
    focal_px = image_size * _between(FOCAL, focal)
    width_mm = _between(FIELD_MM, field)
    shift = torch.stack([2 * dx - 1, 2 * dy - 1], dim=-1) * (OFF_CENTRE * width_mm[:, None])
    depth = focal_px * width_mm / image_size
    return {
        "rotation": tilted @ turned,
        "translation_mm": torch.cat([shift, depth[:, None]], dim=-1),
        "focal_px": focal_px,
    }


def photograph(
    body_mm: Float[Tensor, "batch joints 3"], camera: dict[str, Tensor], image_size: int
) -> tuple[Float[Tensor, "batch joints 3"], Float[Tensor, "batch joints 2"]]:
    """Root-relative bodies as a camera sees them: joints in the camera frame (mm) and keypoints (px)."""
    joints = rotate(camera["rotation"], body_mm) + camera["translation_mm"][:, None]
    return joints, project(joints, camera["focal_px"], image_size)[0]


def _between(bounds: tuple[float, float], random: Tensor) -> Tensor:
    low, high = bounds
    return low + (high - low) * random
