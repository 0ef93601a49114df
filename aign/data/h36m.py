"""Human3.6M, from the ``data_3d_h36m.npz`` that pose-lifting repositories (VideoPose3D) share.

That file holds pickled objects, and unpickling runs whatever code its author put in. So reading it is a step of its
own, for a file whose origin you trust; afterwards only plain arrays are read::

    python -m aign.data.h36m convert data_3d_h36m.npz $AIGN_DATA/h36m/h36m_plain.npz --i-trust-this-file
"""

import argparse
import os
import pickle
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from aign.data.arrays import Column, read_npz
from aign.data.motion import MotionClips, Role, as_millimetres, join_clips
from aign.errors import UserError
from aign.renderers.skeleton import Skeleton

RECORDED_JOINTS = 32
CLIP = Column("numbers", (None, RECORDED_JOINTS, 3))
REMOVED_JOINTS = (4, 5, 9, 10, 11, 16, 20, 21, 22, 23, 24, 28, 29, 30, 31)
"""Joints that never move against their parent, or doubles (VideoPose3D's list)."""
KEPT_JOINTS = tuple(joint for joint in range(RECORDED_JOINTS) if joint not in REMOVED_JOINTS)
FRAME_STRIDE = 3
"""Recorded at 50 frames a second; neighbours are nearly equal, so every third is kept."""

_RIGHT_LEG, _LEFT_LEG = ("right_hip", "right_knee", "right_ankle"), ("left_hip", "left_knee", "left_ankle")
_LEFT_ARM, _RIGHT_ARM = ("left_shoulder", "left_elbow", "left_wrist"), ("right_shoulder", "right_elbow", "right_wrist")
_NAMES = ("pelvis", *_RIGHT_LEG, *_LEFT_LEG, "spine", "thorax", "neck", "head", *_LEFT_ARM, *_RIGHT_ARM)

SKELETON = Skeleton(
    joint_names=_NAMES,
    # In the recording both shoulders hang on removed doubles of the spine; VideoPose3D puts them on the thorax.
    parents=(-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15),
    left_hip=_NAMES.index("left_hip"),
    right_hip=_NAMES.index("right_hip"),
    neck=_NAMES.index("thorax"),
)
"""The 17 joints that papers on Human3.6M measure; its thorax is the base of the neck."""

SUBJECT_ROLES: dict[str, Role] = {
    "S1": "pairs",
    "S5": "pairs",
    "S6": "memories",
    "S7": "memories",
    "S8": "validation",
    "S9": "test",
    "S11": "test",
}
"""Of S9 and S11 the first take of each action is unlabelled input."""

_CONVERT = "python -m aign.data.h36m convert data_3d_h36m.npz PLAIN.npz --i-trust-this-file"
_UNREADABLE = (zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, EOFError, KeyError, ValueError, OSError)


def convert(trusted_npz: Path, out: Path) -> None:
    """Write the recordings of a pickled ``data_3d_h36m.npz`` as plain arrays, one a clip, named ``subject/action``.

    Only for a file whose origin you trust: reading it runs any code that its author put in. Values stay as recorded,
    (frames, 32, 3) metres with z up, as float32. ``out`` appears whole or not at all.
    Raises ``UserError`` if the file is missing, unreadable or of another layout.
    """
    _must_exist(trusted_npz, "get data_3d_h36m.npz as VideoPose3D's DATASETS.md describes")
    try:
        with np.load(trusted_npz, allow_pickle=True) as file:
            recordings = file["positions_3d"].item()
        arrays = {
            f"{subject}/{action}": np.asarray(joints, dtype=np.float32)
            for subject, actions in recordings.items()
            for action, joints in actions.items()
        }
    except (*_UNREADABLE, AttributeError, TypeError) as error:
        raise UserError(
            trusted_npz,
            f"not {{subject: {{action: (frames, {RECORDED_JOINTS}, 3)}}}} under 'positions_3d' ({error})",
            "get the whole data_3d_h36m.npz again",
        ) from error
    for name, joints in arrays.items():
        CLIP.check(f"{trusted_npz}: clip {name}", joints)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    os.replace(partial, out)


def load_h36m(path: Path) -> MotionClips:
    """Human3.6M from the plain file that ``convert`` wrote: 17 joints, every third frame, millimetres, y down.

    Roles go by subject. S9 and S11 are measured, as in every paper on this data: the first take of each action, which
    is ``unlabelled`` input of training as in the AIGN paper, and the second, which is ``test`` and never seen. S8 is
    ``validation``, S1 and S5 are ``pairs``, S6 and S7 ``memories``: memories never share a clip, nor even a body, with
    pairs, so what a discriminator remembers is unpaired in earnest, and no pose can be learnt by looking up its own
    pair.
    Subjects beyond these seven are left out. An action is a clip's name without its take number.
    Raises ``UserError`` if the file is missing, pickled, truncated, of wrong shape or lacks a subject.
    """
    recordings = _read_plain(path)
    missing = [subject for subject in SUBJECT_ROLES if subject not in {name.split("/")[0] for name in recordings}]
    if missing:
        raise UserError(path, f"no clip of subject {', '.join(missing)}", "convert the whole data_3d_h36m.npz")
    for name, joints in recordings.items():
        CLIP.check(f"{path}: clip {name}", joints)
    names = [name for name in recordings if name.split("/")[0] in SUBJECT_ROLES]
    return join_clips(
        name="Human3.6M",
        skeleton=SKELETON,
        clips=[_in_our_world(path, recordings[name]) for name in names],
        names=names,
        actions=[_action(name) for name in names],
        roles=_roles(names),
    )


def _roles(names: Sequence[str]) -> list[Role]:
    """The roles of clips: those of their subjects, but for the first takes of those who are measured."""
    first: dict[tuple[str, str], str] = {}
    for name in sorted(names):
        first.setdefault((name.split("/")[0], _action(name)), name)
    roles = {name: SUBJECT_ROLES[name.split("/")[0]] for name in names}
    return ["unlabelled" if role == "test" and name in first.values() else role for name, role in roles.items()]


def _in_our_world(path: Path, recorded_m: np.ndarray) -> torch.Tensor:
    """Kept joints and frames of one clip, from metres with z up to millimetres with y down, both right-handed."""
    x, y, z = np.moveaxis(as_millimetres(path, recorded_m[::FRAME_STRIDE, KEPT_JOINTS], unit_mm=1000.0), -1, 0)
    return torch.from_numpy(np.stack([x, -z, y], -1))


def _action(name: str) -> str:
    """'S1/Walking 1' is Walking; 'S1/Walking' too."""
    words = name.split("/", 1)[1].split()
    return " ".join(words[:-1] if len(words) > 1 and words[-1].isdigit() else words)


def _read_plain(path: Path) -> dict[str, np.ndarray]:
    missing = f"put it at AIGN_DATA/h36m/h36m_plain.npz; make it from data_3d_h36m.npz with: {_CONVERT}"
    arrays = read_npz(path, missing, f"convert it again: {_CONVERT}")
    return {name: array for name, array in arrays.items() if "/" in name}


def _must_exist(path: Path, remedy: str) -> None:
    if not os.path.isfile(path):
        raise UserError(path, "no such file", remedy)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command ``python -m aign.data.h36m``; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m aign.data.h36m", description=__doc__)
    command = parser.add_subparsers(required=True).add_parser("convert", help="pickled file in, plain file out")
    command.add_argument("trusted_npz", type=Path, metavar="IN", help="data_3d_h36m.npz")
    command.add_argument("out", type=Path, metavar="OUT", help="the plain npz to write")
    command.add_argument(
        "--i-trust-this-file",
        action="store_true",
        required=True,
        help="IN may run code on this computer: say you trust it",
    )
    options = parser.parse_args(arguments)
    try:
        convert(options.trusted_npz, options.out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
