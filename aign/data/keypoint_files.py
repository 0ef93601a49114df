"""A person's own keypoints and the poses inferred from them, as JSON or CSV files."""

import csv
import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from aign.errors import UserError
from aign.renderers.camera import centre_and_spread
from aign.renderers.skeleton import Skeleton

TYPICAL_SPREAD = 0.17
"""Spread of a person's keypoints in training crops, in image sizes."""


def read_keypoints(path: Path, skeleton: Skeleton) -> Float[Tensor, "samples joints 2"]:
    """Keypoints in pixels from a file.

    JSON: ``{"keypoints": [[[x, y], ...one a joint], ...one a person]}`` or only the list. CSV: a header with
    ``JOINT_x`` and ``JOINT_y`` for each joint of the skeleton (in any order), a row a person.

    Raises UserError for an unreadable file, a wrong joint count, missing columns, or values that are not finite.
    """
    if not path.is_file():
        raise UserError(path, "no such file", "give a .json or .csv file of keypoints")
    try:
        values = _read_csv(path, skeleton) if path.suffix.lower() == ".csv" else _read_json(path)
        keypoints = torch.tensor(values, dtype=torch.float32)
    except (ValueError, TypeError) as error:
        raise UserError(path, f"not a file of keypoints ({error})", "see 'Your own keypoints' in the README") from None
    return _checked(keypoints, path, skeleton)


def write_poses(
    path: Path, joints_mm: Float[Tensor, "samples joints 3"], inferred: dict[str, Tensor], skeleton: Skeleton
) -> Path:
    """Inferred poses as JSON: root-relative joints in the camera frame (x right, y down, z forward) and the factors."""
    people = [
        {"joints_mm": joints.tolist(), **{name: values[i].tolist() for name, values in inferred.items()}}
        for i, joints in enumerate(joints_mm)
    ]
    frame = "camera: x right, y down, z forward; relative to the root joint; millimetres"
    document = {"joint_names": skeleton.joint_names, "parents": skeleton.parents, "frame": frame, "poses": people}
    path.write_text(json.dumps(document))
    return path


def crop_to_person(
    keypoints_px: Float[Tensor, "samples joints 2"], image_size: int
) -> Float[Tensor, "samples joints 2"]:
    """Keypoints moved and scaled so that the person fills the image as in training."""
    centre, spread = centre_and_spread(keypoints_px)
    scale = TYPICAL_SPREAD * image_size / spread
    return (keypoints_px - centre[:, None]) * scale[:, None, None] + (image_size - 1) / 2


def _read_json(path: Path) -> Any:
    document = json.loads(path.read_text())
    return document["keypoints"] if isinstance(document, dict) and "keypoints" in document else document


def _read_csv(path: Path, skeleton: Skeleton) -> list[list[list[float]]]:
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        columns = [[f"{joint}_{axis}" for axis in "xy"] for joint in skeleton.joint_names]
        missing = [c for pair in columns for c in pair if c not in (reader.fieldnames or ())]
        if missing:
            raise UserError(
                path, f"column {missing[0]} is missing", f"{len(missing)} of {2 * len(columns)} columns are"
            )
        return [[[float(row[c]) for c in pair] for pair in columns] for row in reader]


def _checked(keypoints: Tensor, path: Path, skeleton: Skeleton) -> Tensor:
    expected = f"(people, {skeleton.num_joints}, 2)"
    if keypoints.dim() != 3 or keypoints.shape[1:] != (skeleton.num_joints, 2) or not len(keypoints):
        raise UserError(
            path,
            f"keypoints have shape {tuple(keypoints.shape)}, expected {expected}",
            f"give the joints {', '.join(skeleton.joint_names)}",
        )
    bad = (~torch.isfinite(keypoints)).flatten(1).any(1).nonzero()[:, 0]
    if len(bad):
        raise UserError(path, f"keypoints of person {int(bad[0])} are NaN or infinite", "drop or repair them")
    return keypoints
