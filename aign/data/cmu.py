"""CMU motion capture: ``$AIGN_DATA/cmu_mocap/joints_mm.npz`` (mocap.cs.cmu.edu, one subject's skeleton for all clips).

The file holds ``joints`` (frames, joints, 3) millimetres with y up, ``sequence_start``, ``sequence_names``
("action/clip") and ``parents``. Roles: every ``walking_extra`` clip supplies pairs; of five clips of another action two
are memories, one is unlabelled input, one is for validation and one for the test, so what supervision never showed must
come from memories.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from aign.data.arrays import Column, read_columns
from aign.data.motion import MotionClips, Role, as_millimetres, join_clips
from aign.errors import UserError
from aign.renderers.skeleton import Skeleton

PAIRED_ACTION = "walking_extra"
TURNS: tuple[Role, ...] = ("memories", "unlabelled", "memories", "validation", "test")
JOINT_NAMES = (
    *("hips", "left_hip_socket", "left_hip", "left_knee", "left_ankle", "left_toe", "left_toe_end"),
    *("right_hip_socket", "right_hip", "right_knee", "right_ankle", "right_toe", "right_toe_end"),
    *("lower_back_base", "lower_back", "spine", "neck_base", "neck", "head", "head_end"),
    *("left_collar_base", "left_shoulder", "left_elbow", "left_wrist", "left_wrist_end", "left_finger_base"),
    *("left_finger", "left_thumb_base", "left_thumb"),
    *("right_collar_base", "right_shoulder", "right_elbow", "right_wrist", "right_wrist_end", "right_finger_base"),
    *("right_finger", "right_thumb_base", "right_thumb"),
)
COLUMNS = {
    "joints": Column("numbers", (None, len(JOINT_NAMES), 3)),
    "sequence_start": Column("whole numbers", (None,)),
    "sequence_names": Column("texts", (None,)),
    "parents": Column("whole numbers", (len(JOINT_NAMES),)),
}


def load_cmu(path: Path) -> MotionClips:
    """Read the clips; joints that lie on their parent (bones under 1 mm) are dropped: 28 of 38 remain.

    Raises UserError for a missing or truncated file, columns of another kind or shape, clips that are no stretches of
    the frames, a skeleton that is no tree, and joints that are not numbers.
    """
    arrays = read_columns(path, COLUMNS, "set AIGN_DATA to the folder that holds cmu_mocap/")
    start, names = arrays["sequence_start"].tolist(), arrays["sequence_names"].tolist()
    joints = as_millimetres(path, arrays["joints"])
    _check_clips(path, start, len(names), len(joints))
    keep, skeleton = _distinct_joints(path, joints, arrays["parents"].tolist())
    down = torch.from_numpy(joints[:, keep]) * torch.tensor([1.0, -1.0, -1.0])  # y up to y down, still right-handed
    actions = [name.split("/")[0] for name in names]
    return join_clips(
        name="CMU motion capture",
        skeleton=skeleton,
        clips=[down[a:b] for a, b in pairwise(start)],
        names=names,
        actions=actions,
        roles=_roles(actions),
    )


def _check_clips(path: Path, start: list[int], num_names: int, num_frames: int) -> None:
    """Clip i is the frames from start i up to, not including, start i + 1."""
    if len(start) != num_names + 1:
        reason = f"has {len(start)} entries for {num_names} clips"
        raise UserError(f"{path}: sequence_start", reason, "give where each clip starts, and where the last one ends")
    if start[0] < 0 or start[-1] > num_frames or any(a >= b for a, b in pairwise(start)):
        reason = f"does not rise from 0 to at most {num_frames}, the number of frames"
        raise UserError(f"{path}: sequence_start", reason, "give where each clip starts, and where the last one ends")


def _distinct_joints(path: Path, joints: np.ndarray, parents: list[int]) -> tuple[list[int], Skeleton]:
    """Indices of the joints that do not lie on their parent, and the skeleton they form."""
    named = {name: JOINT_NAMES.index(name) for name in ("left_hip", "right_hip", "neck")}
    Skeleton(joint_names=JOINT_NAMES, parents=tuple(parents), **named)  # a tree, or this raises
    bone_mm = np.linalg.norm(joints - joints[:, parents], axis=-1).max(0)
    # a bone that is NaN is kept, so that MotionClips can name its clip
    keep = [j for j, parent in enumerate(parents) if parent < 0 or not bone_mm[j] < 1.0]

    on_parent = next((name for name, joint in named.items() if joint not in keep), None)
    if on_parent:
        raise UserError(path, f"the joint {on_parent} lies on its parent in every frame", "export the joints again")

    def kept_ancestor(joint: int) -> int:
        while joint >= 0 and joint not in keep:
            joint = parents[joint]
        return keep.index(joint) if joint >= 0 else -1

    names = [JOINT_NAMES[j] for j in keep]
    return keep, Skeleton(
        joint_names=tuple(names),
        parents=tuple(kept_ancestor(parents[j]) for j in keep),
        **{name: names.index(name) for name in named},
    )


def _roles(actions: list[str]) -> list[Role]:
    """The clips of an action take turns in ``TURNS``; the paired action supplies pairs only."""
    seen: dict[str, int] = {}
    roles: list[Role] = []
    for action in actions:
        count = seen[action] = seen.get(action, -1) + 1
        roles.append("pairs" if action == PAIRED_ACTION else TURNS[count % len(TURNS)])
    return roles
