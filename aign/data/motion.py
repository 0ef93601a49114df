"""Recorded or generated human motion, in one form that every pose data set is read into.

World frame: x right, y down, z forward (the camera's convention, up is -y), millimetres.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from aign.errors import UserError
from aign.renderers.skeleton import Skeleton

Role = Literal["pairs", "memories", "unlabelled", "validation", "test"]
ROLES: tuple[Role, ...] = get_args(Role)
FARTHEST_MM = 1e6
"""A kilometre: no recording stage is larger."""


@dataclass(frozen=True, kw_only=True)
class MotionClips:
    """Clips of 3D joints, each with an action, a subject and the one role it plays.

    A clip is whole in one role: ``pairs`` supplies supervision, ``memories`` is only remembered, ``unlabelled``
    supplies input without labels, and training never sees ``validation`` and ``test``. So a memory never shares a clip
    with a pair, nor with any input.
    """

    name: str
    """Which data set, as metrics state it; a generated world says so."""
    skeleton: Skeleton
    joints_mm: Tensor
    """(frames, joints, 3) float32, world frame."""
    frame_clips: Tensor
    """(frames,) int64: the clip of each frame."""
    clip_names: tuple[str, ...]
    clip_actions: tuple[str, ...]
    clip_roles: tuple[Role, ...]

    def __post_init__(self) -> None:
        frames, joints = self.joints_mm.shape[:2]
        if self.joints_mm.shape != (frames, self.skeleton.num_joints, 3):
            raise UserError(
                f"{self.name}: joints of shape {tuple(self.joints_mm.shape)}",
                f"the skeleton has {self.skeleton.num_joints} joints",
                f"give (frames, joints, 3) and the skeleton of these {joints} joints",
            )
        bad = (~torch.isfinite(self.joints_mm)).flatten(1).any(1)
        if bad.any():
            first = int(bad.nonzero()[0, 0])
            clip = self.clip_names[int(self.frame_clips[first])]
            raise UserError(
                f"{self.name}: clip {clip}", f"{int(bad.sum())} frames hold NaN or infinite joints", "drop them"
            )
        parents, children = zip(*self.skeleton.bones, strict=True)
        if not (self.joints_mm[:, parents] != self.joints_mm[:, children]).any():
            raise UserError(self.name, "all joints lie in one place", "use a file that holds poses")
        missing = [role for role in ROLES if role not in self.clip_roles]
        if missing:
            raise UserError(self.name, f"no clip plays the role {missing[0]!r}", "give at least one clip to each role")

    def frames(self, role: Role) -> Tensor:
        """Indices of the frames whose clip plays ``role``."""
        plays = torch.tensor([r == role for r in self.clip_roles])
        return plays[self.frame_clips].nonzero()[:, 0]

    @property
    def actions(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.clip_actions)))

    @property
    def frame_actions(self) -> Tensor:
        """(frames,) int64: index into ``actions`` of each frame."""
        index = torch.tensor([self.actions.index(a) for a in self.clip_actions])
        return index[self.frame_clips]


def as_millimetres(where: object, joints: np.ndarray, unit_mm: float = 1.0) -> np.ndarray:
    """Joints of any number type as float32 millimetres. Raises UserError for places that no body can be at.

    NaN passes, so that ``MotionClips`` can name its clip.
    """
    largest = float(np.nan_to_num(np.abs(joints), nan=0.0).max(initial=0.0)) * unit_mm
    if largest > FARTHEST_MM and not math.isinf(largest):
        reason = f"a joint is {largest / 1e6:.3g} km from the origin"
        raise UserError(where, reason, "state joints in the unit that the file is said to have")
    return (joints * unit_mm).astype(np.float32)


def join_clips(
    *,
    name: str,
    skeleton: Skeleton,
    clips: Sequence[Tensor],
    names: Sequence[str],
    actions: Sequence[str],
    roles: Sequence[Role],
) -> MotionClips:
    """One ``MotionClips`` from a list of clips of (frames, joints, 3) millimetres."""
    lengths = torch.tensor([len(clip) for clip in clips])
    return MotionClips(
        name=name,
        skeleton=skeleton,
        joints_mm=torch.cat(list(clips)).float(),
        frame_clips=torch.repeat_interleave(torch.arange(len(clips)), lengths),
        clip_names=tuple(names),
        clip_actions=tuple(actions),
        clip_roles=tuple(roles),
    )
