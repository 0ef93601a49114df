"""A tree of joints, and forward kinematics on it: parameter-free and differentiable."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aign.errors import UserError
from aign.stored import with_tuples


@dataclass(frozen=True, kw_only=True)
class Skeleton:
    """A tree of joints. The torso (two hips, neck) defines which way a body faces."""

    joint_names: tuple[str, ...]
    parents: tuple[int, ...]
    """Parent of each joint, -1 at the root; a parent stands before its children."""
    left_hip: int
    right_hip: int
    neck: int

    def __post_init__(self) -> None:
        if len(self.parents) != len(self.joint_names):
            raise UserError(
                f"{len(self.parents)} parents", f"{len(self.joint_names)} joints are named", "give one parent a joint"
            )
        if self.parents.count(-1) != 1 or any(p >= j for j, p in enumerate(self.parents)):
            raise UserError(self.parents, "not a tree in order", "use one -1 at the root, and parents before children")

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Skeleton":
        """The inverse of ``to_json``."""
        return cls(**with_tuples(stored))

    def to_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}

    @property
    def num_joints(self) -> int:
        return len(self.parents)

    @property
    def root(self) -> int:
        return self.parents.index(-1)

    @property
    def bones(self) -> list[tuple[int, int]]:
        """(parent, child) of every bone."""
        return [(parent, child) for child, parent in enumerate(self.parents) if parent >= 0]


def kinematic_chain(
    joints: Float[Tensor, "batch joints 3"], parents: Int[Tensor, " bones"], children: Int[Tensor, " bones"]
) -> Float[Tensor, "batch features"]:
    """Lengths of all bones and the cosines between every two: what a pose is, whichever way it is turned.

    Joints are in metres. Lengths are in decimetres: they hardly vary among memories, and a centimetre must count.

    The kinematic chain space of Wandt and Rosenhahn (RepNet, CVPR 2019).
    """
    bones = joints.index_select(1, children) - joints.index_select(1, parents)
    lengths = bones.square().sum(-1).add(1e-6).sqrt()
    directions = bones / lengths[..., None]
    first, second = torch.triu_indices(len(parents), len(parents), offset=1, device=joints.device)
    return torch.cat([10 * lengths, (directions @ directions.mT)[:, first, second]], dim=-1)


def axis_rotations(
    axes: Float[Tensor, "*#batch 3"], angles_rad: Float[Tensor, "*#batch"]
) -> Float[Tensor, "*batch 3 3"]:
    """Matrices that turn by an angle about a unit axis, right-handed (Rodrigues' formula).

    The axis is apart from the angle, so the gradient is exact at an angle of zero, where an axis-angle vector has none.
    """
    x, y, z = axes.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    sin, cos = angles_rad.sin()[..., None, None], angles_rad.cos()[..., None, None]
    return torch.eye(3).to(axes) + sin * cross + (1 - cos) * (cross @ cross)


def forward_kinematics(
    rotations: Float[Tensor, "*#batch joints 3 3"], offsets: Float[Tensor, "*#batch joints 3"], parents: Sequence[int]
) -> Float[Tensor, "*batch joints 3"]:
    """Positions of all joints of a kinematic tree.

    ``rotations[j]`` turns joint j, and all that hangs on it, in the frame of its parent. ``offsets[j]`` is the bone
    from the parent to j in the parent's frame (at the root: where the root stands); units are those of the offsets.
    ``parents`` holds -1 at the root and a parent before its children, as in ``aign.data.motion.Skeleton``.
    With G the rotation of a joint in the world: G_j = G_parent R_j, position_j = position_parent + G_parent offset_j.
    """
    batch = torch.broadcast_shapes(rotations.shape[:-3], offsets.shape[:-2])
    rotations_of, offsets_of = rotations.unbind(-3), offsets.unbind(-2)
    in_world: list[Tensor] = []
    positions: list[Tensor] = []
    for joint, parent in enumerate(parents):
        if parent < 0:
            in_world.append(rotations_of[joint])
            positions.append(offsets_of[joint].expand(*batch, 3))
        else:
            bone = (in_world[parent] @ offsets_of[joint][..., None])[..., 0]
            in_world.append(in_world[parent] @ rotations_of[joint])
            positions.append(positions[parent] + bone)
    return torch.stack(positions, -2)
