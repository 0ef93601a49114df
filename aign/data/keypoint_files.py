"""A person's own keypoints and the poses inferred from them, as JSON or CSV files."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from aign.data.file_tree import FileTree
from aign.data.keypoint_formats import foreign_document, foreign_file
from aign.data.pictures import MOST_PX
from aign.data.skipped import Skipped, skipped_line
from aign.data.tables import read_rows
from aign.errors import UserError
from aign.renderers.camera import centre_and_spread
from aign.renderers.skeleton import Skeleton
from aign.stored import read_json

TYPICAL_SPREAD = 0.17
"""Spread of a person's keypoints in training crops, in image sizes."""
LEAST_SPREAD_PX = 1.0
UNLIKELY = 10.0
"""How many times the test set's mean error is doubted. By Markov's inequality at most a tenth of the test set is beyond
it, whatever it is like."""
_REMEDY = "see docs/your_own_data.md"


class People(NamedTuple):
    """The people of a file who can be posed."""

    keypoints_px: Float[Tensor, "people joints 2"]
    numbers: tuple[int, ...]
    """Which people of the file they are, from 0."""
    skipped: tuple[Skipped, ...]
    """The others: a joint was not found, or what was found is no person."""


def read_keypoints(path: Path, skeleton: Skeleton) -> People:
    """Keypoints in pixels from a file.

    JSON: ``{"keypoints": [[[x, y], ...one a joint], ...one a person]}`` or only the list. CSV: a header with
    ``JOINT_x`` and ``JOINT_y`` for each joint of the skeleton (in any order), a row a person. A joint that was not
    found is ``null``, ``[null, null]``, an empty cell or, as detectors write it, (0, 0).

    Raises UserError for an unreadable file or one of another format, which it names, a wrong joint count, missing
    columns, values that are no numbers, and a file without anybody who can be posed.
    """
    content = _content(path)
    is_json = path.suffix.lower() == ".json" or content.lstrip()[:1] in (b"{", b"[")
    values = _read_json(content, path, skeleton) if is_json else _read_csv(content, path, skeleton)
    keypoints = torch.tensor(values, dtype=torch.float64)
    reasons = [_why_not(person, skeleton) for person in keypoints]
    skipped = tuple(Skipped(f"person {i}", reason) for i, reason in enumerate(reasons) if reason)
    numbers = tuple(i for i, reason in enumerate(reasons) if not reason)
    if not numbers:
        raise UserError(path, skipped_line(skipped, "people were"), "give people with all joints")
    return People(keypoints[list(numbers)].float(), numbers, skipped)


def write_poses(
    path: Path,
    joints_mm: Float[Tensor, "samples joints 3"],
    inferred: dict[str, Tensor],
    skeleton: Skeleton,
    numbers: Sequence[int],
    num_people: int,
) -> Path:
    """Inferred poses as JSON: root-relative joints in the camera frame (x right, y down, z forward) and the factors.

    ``numbers`` says which of ``num_people`` each is; the others are null.
    """
    people: list[dict | None] = [None] * num_people
    for i, (number, joints) in enumerate(zip(numbers, joints_mm, strict=True)):
        people[number] = {
            "joints_mm": joints.tolist(),
            **{name: values[i].tolist() for name, values in inferred.items()},
        }
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


def unlikely_people(
    error_px: Float[Tensor, " people"], typical_px: float, names: Sequence[str], skeleton: Skeleton
) -> list[str]:
    """A line on people whose reprojection error is over ``UNLIKELY`` times the test set's mean, if there are any."""
    worst, found = int(error_px.argmax()), int((error_px > UNLIKELY * typical_px).sum())
    if not found:
        return []
    order = ", ".join(skeleton.joint_names)
    return [
        f"{found:,} of {len(error_px):,} people do not match their poses, such as person {names[worst]} "
        f"({error_px[worst]:.0f} px; {typical_px:.1f} px in the test set): are the joints in this order, {order}?"
    ]


def _why_not(person: Float[Tensor, "joints 2"], skeleton: Skeleton) -> str:
    """Why a person cannot be posed; empty if they can."""
    for joint in (~person.isfinite()).any(1).nonzero()[:1, 0].tolist():
        return f"lacks the joint {skeleton.joint_names[joint]}"
    if person.abs().max() > MOST_PX:
        return f"has joints beyond {MOST_PX:,} px, outside any image"
    if (person - person.mean(0)).square().sum(1).mean().sqrt() < LEAST_SPREAD_PX:
        return f"has all joints within {LEAST_SPREAD_PX:g} px: nobody was found"
    for joint in (person == 0).all(1).nonzero()[:1, 0].tolist():
        return f"has the joint {skeleton.joint_names[joint]} at (0, 0), as detectors write those that were not found"
    return ""


def _content(path: Path) -> bytes:
    if os.path.isdir(path):
        raise UserError(path, "is a folder", "give one .json or .csv file of keypoints, with all people in it")
    if not os.path.exists(path):  # nor could be: Path.exists raises OSError for a name that is too long
        raise UserError(path, "no such file", "give a .json or .csv file of keypoints")
    content = FileTree(path).read(path.name)
    if kind := foreign_file(content):
        raise _foreign(path, kind)
    return content


def _foreign(path: Path, kind: str) -> UserError:
    return UserError(path, f"seems to be {kind}, not a file of keypoints as they are read here", _REMEDY)


def _read_json(content: bytes, path: Path, skeleton: Skeleton) -> list[list[list[float]]]:
    document: Any = read_json(content.removeprefix(b"\xef\xbb\xbf"), path, Any, _REMEDY)
    people = document["keypoints"] if isinstance(document, dict) and "keypoints" in document else document
    if kind := foreign_document(document):
        raise _foreign(path, kind)
    if not isinstance(people, list) or not people:
        raise UserError(path, "holds no list of people, or an empty one", _REMEDY)
    return [_person(person, f"{path}, person {i}", skeleton) for i, person in enumerate(people)]


def _person(person: Any, place: str, skeleton: Skeleton) -> list[list[float]]:
    if (
        not isinstance(person, list)
        or not person
        or not all(joint is None or isinstance(joint, list) for joint in person)
    ):
        raise UserError(place, "is no list of joints [x, y]", _REMEDY)
    if len(person) != skeleton.num_joints:
        reason = f"has {len(person)} joints, the network was trained on {skeleton.num_joints}"
        raise UserError(place, reason, f"give the joints {', '.join(skeleton.joint_names)}")
    return [_joint(joint, f"{place}, joint {i}") for i, joint in enumerate(person)]


def _joint(joint: list | None, place: str) -> list[float]:
    if joint is None:
        return [math.nan, math.nan]
    if len(joint) == 3:
        reason = "has three numbers; the third, which detectors write for their confidence, is not read"
        raise UserError(place, reason, "leave it out, and give null for joints that were not found")
    if len(joint) != 2:
        raise UserError(place, f"has {len(joint)} numbers", "give [x, y], or null if it was not found")
    return [_number(value, place) for value in joint]


def _number(value: Any, place: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(place, f"holds {str(value)[:40]!r}, which is no number", "give [x, y] in pixels")
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf


def _read_csv(content: bytes, path: Path, skeleton: Skeleton) -> list[list[list[float]]]:
    rows = read_rows(content, str(path))
    wanted = [f"{joint}_{axis}" for joint in skeleton.joint_names for axis in "xy"]
    missing = [column for column in wanted if column not in rows.columns]
    if missing:
        reason = f"column {missing[0]} is missing ({len(missing)} of {len(wanted)} are)"
        raise UserError(path, reason, "name the columns JOINT_x and JOINT_y")
    columns = [rows.columns.index(column) for column in wanted]
    people = []
    for cells, number in zip(rows.cells, rows.numbers, strict=True):
        values = [_cell(cells[column], f"{path}, row {number}") for column in columns]
        people.append([values[i : i + 2] for i in range(0, len(values), 2)])
    return people


def _cell(cell: str, place: str) -> float:
    try:
        return float(cell) if cell else math.nan
    except ValueError:
        raise UserError(place, f"holds {cell[:40]!r}, which is no number", "give pixels, 12.5 say") from None
