"""Two networks that lift 2D keypoints to shape weights, rotation, translation and focal length."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aign.renderers.camera import centre_and_spread, rotation_from_6d, rotation_from_euler
from aign.renderers.heatmaps import gaussian_heatmaps

Rotation = Literal["euler", "6d"]

BODY_SPREAD_MM = 450.0
"""Typical root-mean-square distance of a person's joints from their centre: turns a size in pixels into a depth."""


class PoseHead(nn.Module):
    """Features to factors, relative to where the keypoints are and how large they appear.

    The network predicts small corrections; the camera is then placed so that a body of ordinary size at the
    predicted depth covers the keypoints, which makes the first guess project into the image.
    """

    def __init__(self, num_features: int, num_components: int, rotation: Rotation, image_size: int) -> None:
        super().__init__()
        self.rotation, self.num_components, self.image_size = rotation, num_components, image_size
        num_angles = 3 if rotation == "euler" else 6
        self.sizes = [num_components, num_angles, 3, 1]
        self.linear = nn.Linear(num_features, sum(self.sizes))

    def forward(
        self,
        features: Float[Tensor, "batch features"],
        centre_px: Float[Tensor, "batch 2"],
        spread_px: Float[Tensor, " batch"],
    ) -> dict[str, Tensor]:
        with torch.autocast(features.device.type, enabled=False):  # bfloat16 cannot tell a millimetre at a metre
            return self._place(self.linear(features.float()), centre_px, spread_px)

    def _place(
        self,
        outputs: Float[Tensor, "batch outputs"],
        centre_px: Float[Tensor, "batch 2"],
        spread_px: Float[Tensor, " batch"],
    ) -> dict[str, Tensor]:
        weights, angles, shift, log_focal = outputs.split(self.sizes, dim=-1)
        rotation = rotation_from_euler(angles) if self.rotation == "euler" else rotation_from_6d(_near_identity(angles))
        focal = self.image_size * torch.exp(0.3 * torch.tanh(log_focal[:, 0]) + 0.24)
        depth = focal * BODY_SPREAD_MM / spread_px * torch.exp(0.5 * torch.tanh(shift[:, 2]))
        root_px = centre_px + shift[:, :2] * spread_px[:, None] - (self.image_size - 1) / 2
        translation = torch.cat([root_px * (depth / focal)[:, None], depth[:, None]], dim=-1)
        return {"weights": weights, "rotation": rotation, "translation_mm": translation, "focal_px": focal}


class ResidualLifter(nn.Module):
    """Residual multilayer perceptron on the keypoints themselves (after Martinez et al., ICCV 2017)."""

    def __init__(
        self, *, num_joints: int, num_components: int, image_size: int, rotation: Rotation, width: int, num_blocks: int
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.stem = nn.Linear(2 * num_joints + 3, width)
        self.blocks = nn.ModuleList(_ResidualBlock(width) for _ in range(num_blocks))
        self.head = PoseHead(width, num_components, rotation, image_size)

    def forward(self, observed: dict[str, Tensor]) -> dict[str, Tensor]:
        keypoints = observed["keypoints_px"]
        centre, spread = centre_and_spread(keypoints)
        local = (keypoints - centre[:, None]) / spread[:, None, None]
        place = torch.cat([centre / self.image_size - 0.5, spread[:, None] / self.image_size], dim=-1)
        features = self.stem(torch.cat([local.flatten(1), place], dim=-1))
        for block in self.blocks:
            features = block(features)
        return self.head(features, centre, spread)


class HeatmapLifter(nn.Module):
    """The paper's network (supplement, 2.1): heatmaps, 8 convolutions with leaky ReLU and batch norm, 2 linear layers.

    The paper gives the widths only in a figure; these are ours: they halve the map every second layer.
    """

    HEATMAP_SIZE = 32
    VARIANCE = 0.25
    CHANNELS = (32, 32, 64, 64, 128, 128, 128, 128)

    def __init__(
        self, *, num_joints: int, num_components: int, image_size: int, rotation: Rotation, width: int
    ) -> None:
        super().__init__()
        self.image_size = image_size
        layers: list[nn.Module] = []
        for i, channels in enumerate(self.CHANNELS):
            before = self.CHANNELS[i - 1] if i else num_joints
            layers += [nn.Conv2d(before, channels, 3, stride=1 + i % 2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(channels), nn.LeakyReLU(0.2)]
        self.convolutions = nn.Sequential(*layers)
        num_features = self.CHANNELS[-1] * (self.HEATMAP_SIZE // 16) ** 2
        self.linear = nn.Sequential(nn.Linear(num_features, width), nn.LeakyReLU(0.2))
        self.head = PoseHead(width, num_components, rotation, image_size)

    def forward(self, observed: dict[str, Tensor]) -> dict[str, Tensor]:
        keypoints = observed["keypoints_px"]
        heatmaps = gaussian_heatmaps(keypoints, self.image_size, self.HEATMAP_SIZE, self.VARIANCE)
        features = self.linear(self.convolutions(heatmaps).flatten(1))
        return self.head(features, *centre_and_spread(keypoints))


class _ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, width)
        )

    def forward(self, features: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        return features + self.layers(features)


def _near_identity(angles: Float[Tensor, "batch 6"]) -> Float[Tensor, "batch 6"]:
    """Shift the 6D code so that a network that says nothing says 'facing the camera' instead of a zero vector."""
    return angles + torch.eye(2, 3, dtype=angles.dtype, device=angles.device).flatten()
