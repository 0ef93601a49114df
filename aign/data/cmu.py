"""CMU motion capture: ``$AIGN_DATA/cmu_mocap/joints_mm.npz`` (mocap.cs.cmu.edu, one subject's skeleton for all clips).

The file holds ``joints`` (frames, joints, 3) millimetres with y up, ``sequence_start``, ``sequence_names``
("action/clip") and ``parents``. Roles: every ``walking_extra`` clip supplies pairs; of each other action two thirds
of the clips are memories and the rest test input, so what supervision never showed must come from memories.
"""

import zlib
from itertools import pairwise
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from aign.data.motion import MotionClips, Role, join_clips
from aign.errors import UserError
from aign.renderers.skeleton import Skeleton

PAIRED_ACTION = "walking_extra"
FIELDS = ("joints", "sequence_start", "sequence_names", "parents")
JOINT_NAMES = (
    *("hips", "left_hip_socket", "left_hip", "left_knee", "left_ankle", "left_toe", "left_toe_end"),
    *("right_hip_socket", "right_hip", "right_knee", "right_ankle", "right_toe", "right_toe_end"),
    *("lower_back_base", "lower_back", "spine", "neck_base", "neck", "head", "head_end"),
    *("left_collar_base", "left_shoulder", "left_elbow", "left_wrist", "left_wrist_end", "left_finger_base"),
    *("left_finger", "left_thumb_base", "left_thumb"),
    *("right_collar_base", "right_shoulder", "right_elbow", "right_wrist", "right_wrist_end", "right_finger_base"),
    *("right_finger", "right_thumb_base", "right_thumb"),
)


def load_cmu(path: Path) -> MotionClips:
    """Read the clips; joints that lie on their parent (bones under 1 mm) are dropped: 28 of 38 remain.

    Raises UserError for a missing or truncated file, a missing column, or joints that are not numbers.
    """
    arrays = _read(path)
    joints, parents = arrays["joints"], arrays["parents"].tolist()
    if joints.ndim != 3 or joints.shape[1:] != (len(JOINT_NAMES), 3):
        raise UserError(path, f"joints have shape {joints.shape}", f"expected (frames, {len(JOINT_NAMES)}, 3)")
    keep, skeleton = _distinct_joints(joints, parents)
    down = torch.from_numpy(joints[:, keep]) * torch.tensor([1.0, -1.0, -1.0])  # y up to y down, still right-handed
    start = arrays["sequence_start"].tolist()
    names = [str(name) for name in arrays["sequence_names"]]
    actions = [name.split("/")[0] for name in names]
    return join_clips(
        name="CMU motion capture",
        skeleton=skeleton,
        clips=[down[a:b] for a, b in pairwise(start)],
        names=names,
        actions=actions,
        roles=_roles(actions),
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {field: file[field] for field in FIELDS}
    except FileNotFoundError:
        raise UserError(path, "no such file", "set AIGN_DATA to the folder that holds cmu_mocap/") from None
    except KeyError as missing:
        raise UserError(path, f"column {missing} is missing", f"the file needs {', '.join(FIELDS)}") from None
    except (BadZipFile, zlib.error, ValueError, TypeError, OSError, EOFError) as error:  # TypeError: an .npy
        raise UserError(path, f"not a readable npz file ({error})", "copy it again, it may be truncated") from None


def _distinct_joints(joints: np.ndarray, parents: list[int]) -> tuple[list[int], Skeleton]:
    """Indices of the joints that do not lie on their parent, and the skeleton they form."""
    bone_mm = np.linalg.norm(joints - joints[:, parents], axis=-1).max(0)
    # a bone that is NaN is kept, so that MotionClips can name its clip
    keep = [j for j, parent in enumerate(parents) if parent < 0 or not bone_mm[j] < 1.0]

    def kept_ancestor(joint: int) -> int:
        while joint >= 0 and joint not in keep:
            joint = parents[joint]
        return keep.index(joint) if joint >= 0 else -1

    names = [JOINT_NAMES[j] for j in keep]
    return keep, Skeleton(
        joint_names=tuple(names),
        parents=tuple(kept_ancestor(parents[j]) for j in keep),
        left_hip=names.index("left_hip"),
        right_hip=names.index("right_hip"),
        neck=names.index("neck"),
    )


def _roles(actions: list[str]) -> list[Role]:
    """Every third clip of an action is test input, the others memories; the paired action supplies pairs only."""
    seen: dict[str, int] = {}
    roles: list[Role] = []
    for action in actions:
        count = seen[action] = seen.get(action, 0) + 1
        roles.append("pairs" if action == PAIRED_ACTION else "test" if count % 3 == 2 else "memories")
    return roles
