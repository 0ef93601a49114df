"""The Face Research Lab London Set (DeBruine and Jones 2017, CC BY 4.0): 102 people, neutral and smiling.

``$AIGN_DATA/faces_london``: ``neutral_front`` and ``smiling_front`` with images of 256 pixels, ``attributes.csv``, and
``landmarks_{neutral,smiling}_front.npz``.
"""

import io
import zipfile

import numpy as np
import pandas as pd

from aign.data.data_root import data_file
from aign.data.file_tree import FileTree
from aign.data.image_files import image_set
from aign.data.images import LANDMARKS, ImageSet, split_by
from aign.errors import UserError

CROP_PX = 180
"""The middle square that holds the head and little else."""
_EXPRESSIONS = {"neutral_front": -1, "smiling_front": 1}
_POINTS = dict(zip(LANDMARKS, (0, 1, 55, 87, 93), strict=True))
"""Their places among the 189 points of the set's template."""
_COLUMNS = [f"{landmark}_{axis}" for landmark in LANDMARKS for axis in "xy"]


def load_london_faces(*, size: int = 64, crop_px: int = CROP_PX, strict: bool = False) -> ImageSet:
    """Two images of each person, with ``Male`` and ``Smiling`` (1 or -1), ``age`` in years (two are not known),
    ``ethnicity``, ``identity`` and landmarks (of the neutral faces only); split by person.

    Broken images are skipped, or with ``strict`` a UserError. Raises UserError for missing files and other layouts.
    """
    tree = FileTree(data_file("faces_london"))
    table = pd.concat([_listed(tree, folder) for folder in _EXPRESSIONS], ignore_index=True)
    return image_set("London faces", tree, table, size=size, crop_px=crop_px, strict=strict)


def _listed(tree: FileTree, folder: str) -> pd.DataFrame:
    """The images of one expression."""
    people = _people(tree)
    files = {path.rpartition("/")[2].partition("_")[0]: path for path in sorted(tree.stamps) if path.startswith(folder)}
    people = people[people.index.isin(files)]
    places = _points(tree, f"landmarks_{folder}.npz").reindex(people.index)
    known = pd.DataFrame(
        {
            "file": [files[person] for person in people.index],
            "Male": np.where(people["face_gender"] == "male", 1, -1),
            "Smiling": _EXPRESSIONS[folder],
            "age": people["face_age"],
            "ethnicity": people["face_eth"],
            "identity": people.index.astype(int),
        },
        index=people.index,
    )
    known["split"] = split_by(known["identity"].tolist())
    return pd.concat([known, places], axis=1)


def _people(tree: FileTree) -> pd.DataFrame:
    columns = {"face_id": "str", "face_age": "float64", "face_gender": "str", "face_eth": "str"}
    try:
        return pd.read_csv(io.BytesIO(tree.read("attributes.csv")), usecols=list(columns), dtype=columns).set_index(
            "face_id"
        )
    except ValueError as error:
        raise UserError(f"{tree.source}/attributes.csv", str(error).splitlines()[0], "copy the set again") from None


def _points(tree: FileTree, name: str) -> pd.DataFrame:
    try:
        with np.load(io.BytesIO(tree.read(name)), allow_pickle=False) as file:
            landmarks, people = file["landmarks"], file["ids"]
            if not landmarks.shape[1]:  # as those of the smiling faces are published
                return pd.DataFrame(columns=_COLUMNS, dtype="float64")
            places = landmarks[:, list(_POINTS.values())].reshape(len(people), len(_COLUMNS))
    except (ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise UserError(f"{tree.source}/{name}", f"no landmarks there ({error})", "copy the set again") from None
    return pd.DataFrame(places, people.astype(str), _COLUMNS)
