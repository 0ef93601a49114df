"""Which other format a file of keypoints seems to be in: a person who gives one is told so by name."""

import io
import zipfile
from typing import Any

_MAGIC = {
    b"\x93NUMPY": "a NumPy array (.npy)",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"\x89HDF": "HDF5 (.h5, .mat)",
    b"MATLAB": "MATLAB (.mat)",
    b"\x80": "a pickle of Python (.pkl), which is never opened",
    b"\x1f\x8b": "gzip",
    b"<": "XML",
}
_ZIPPED = {"positions_2d.npy": "VideoPose3D (.npz)", "xl/workbook.xml": "a spreadsheet (.xlsx)"}
_FIELDS = {
    "pose_keypoints_2d": "OpenPose",
    "annotations": "COCO annotations",
    "keypoint_scores": "MMPose",
    "instance_info": "MMPose",
    "predictions": "MMPose",
    "image_id": "COCO results",
    "category_id": "COCO results",
    "pred_keypoints": "Detectron2",
    "visibility": "MediaPipe",
}
"""Formats by a field that others do not have."""


def foreign_file(content: bytes) -> str | None:
    """The format of a file that is no text; None if it may be one."""
    if content.startswith(b"PK"):
        return next((name for member, name in _ZIPPED.items() if member in _members(content)), "a .zip or .npz archive")
    return next((name for magic, name in _MAGIC.items() if content.startswith(magic)), None)


def foreign_document(document: Any) -> str | None:
    """The format of what a JSON file holds, by the fields of its first objects."""
    for _ in range(4):  # such as {"people": [{"pose_keypoints_2d": ...}]}
        fields = set(document) if isinstance(document, dict) else set()
        if named := next((name for field, name in _FIELDS.items() if field in fields), None):
            return named
        inner = [*document.values()] if isinstance(document, dict) else document
        lists = [item for item in inner if item and isinstance(item, dict | list)] if isinstance(inner, list) else []
        if not lists:
            return None
        document = lists[0]
    return None


def _members(content: bytes) -> list[str]:
    try:
        return zipfile.ZipFile(io.BytesIO(content)).namelist()
    except (zipfile.BadZipFile, ValueError, OSError):
        return []
