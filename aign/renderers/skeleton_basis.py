"""The pose renderer: shape basis, rotation, translation and camera to 3D joints and 2D keypoints. No parameters."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aign.renderers.camera import project
from aign.renderers.torso import rotate


class BasisRenderer(nn.Module):
    """x3D = R (mean + sum_j w_j B_j) + T, then x2D = P x3D (paper, section 2.1), for any number of joints.

    The basis is data (buffers), not parameters: ``fit`` makes it from poses. Weights are in units of one standard
    deviation of their component, so that a network predicts numbers near one.
    """

    mean_mm: Tensor
    basis_mm: Tensor

    def __init__(self, num_components: int, num_joints: int, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        self.register_buffer("mean_mm", torch.zeros(num_joints, 3))
        self.register_buffer("basis_mm", torch.zeros(num_components, num_joints, 3))

    def fit(self, canonical_mm: Float[Tensor, "poses joints 3"]) -> None:
        """Principal components of orientation-aligned, root-relative poses.

        With fewer degrees of freedom than components the rest of the basis is zero.
        """
        self.mean_mm.copy_(canonical_mm.mean(0))
        centred = (canonical_mm - self.mean_mm).flatten(1).double()
        variance, directions = torch.linalg.eigh(centred.T @ centred / len(centred))
        count = min(len(self.basis_mm), len(variance))
        largest_first = (directions * variance.clamp(min=0).sqrt()).T.flip(0)[:count]
        self.basis_mm.zero_()
        self.basis_mm[:count] = largest_first.float().unflatten(-1, self.mean_mm.shape)

    def weights(self, canonical_mm: Float[Tensor, "batch joints 3"]) -> Float[Tensor, "batch components"]:
        """The weights whose shape is closest to the given canonical poses."""
        length = self.basis_mm.flatten(1).square().sum(-1).clamp(min=1e-6)
        return (canonical_mm - self.mean_mm).flatten(1) @ self.basis_mm.flatten(1).T / length

    def shape(self, weights: Float[Tensor, "batch components"]) -> Float[Tensor, "batch joints 3"]:
        """Canonical joints in millimetres: mean + sum_j w_j B_j."""
        return self.mean_mm + torch.einsum("bk,kjc->bjc", weights, self.basis_mm)

    def pose(
        self,
        weights: Float[Tensor, "batch components"],
        rotation: Float[Tensor, "batch 3 3"],
        translation_mm: Float[Tensor, "batch 3"],
    ) -> Float[Tensor, "batch joints 3"]:
        """Joints in the camera frame, millimetres."""
        return rotate(rotation, self.shape(weights)) + translation_mm[:, None]

    def forward(self, inferred: dict[str, Tensor], observed: dict[str, Tensor]) -> dict[str, Tensor]:
        """Inferred factors to ``keypoints_px`` (batch, joints, 2) and ``in_front`` (batch, joints)."""
        joints = self.pose(inferred["weights"], inferred["rotation"], inferred["translation_mm"])
        keypoints, in_front = project(joints, inferred["focal_px"], self.image_size)
        return {"keypoints_px": keypoints, "in_front": in_front}
