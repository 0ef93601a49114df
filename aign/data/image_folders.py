"""Any folder of images, with what a table says about them or without one."""

from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from aign.data.file_tree import FileTree
from aign.data.image_files import image_set
from aign.data.images import LANDMARKS, SPLITS, ImageSet, split_by
from aign.data.pictures import listed_pictures
from aign.data.skipped import Skipped, skipped_line
from aign.data.tables import read_table
from aign.errors import UserError

TABLE = "attributes.csv"


def load_image_folder(
    source: str | Path, *, size: int = 64, table: str | None = None, crop_px: int | None = None, strict: bool = False
) -> ImageSet:
    """The images under a folder (or at ``s3://bucket/prefix``), or one image: the middle square, resized to ``size``.

    ``table`` is a CSV file in the folder, ``attributes.csv`` if there is one. Its column ``file`` names the images by
    their path in the folder; every other column is kept. ``split`` (train, validation or test) and ``identity`` are
    optional: without ``split``, one is made that keeps the images of an identity together. Landmark columns (see
    ``aign.data.images.LANDMARKS``) are in pixels of the files. Without a table all images are taken, with the folder
    each lies in as the column ``folder``.

    What is called an image and cannot be read, and images that the table names in vain, are skipped, or with ``strict``
    a UserError. Raises UserError for a folder without images and a table that cannot be read or lacks ``file``.
    """
    tree = FileTree(source)
    if table is None:
        table = tree.find(TABLE)
    known, skipped = _found(tree, strict=strict) if table is None else (_read(tree, table), [])
    if "split" not in known:
        known["split"] = split_by(known["identity" if "identity" in known else "file"].tolist())
    images = image_set(f"images of {tree.source}", tree, known, size=size, crop_px=crop_px, strict=strict)
    return images.without(skipped)


def _found(tree: FileTree, *, strict: bool) -> tuple[pd.DataFrame, list[Skipped]]:
    files, skipped = listed_pictures(tree)
    if skipped and (strict or not files):
        reason = skipped_line(skipped, "files were")
        raise UserError(tree.source, reason, "mend or remove them" + (", or leave --strict out" if strict else ""))
    if not files:
        raise UserError(tree.source, "holds no images", "give a folder of .jpg, .png or other images")
    return pd.DataFrame({"file": files, "folder": [path.rpartition("/")[0] for path in files]}), skipped


def _read(tree: FileTree, name: str) -> pd.DataFrame:
    place = tree.place(name)
    table = read_table(tree.read(name), place, texts=("file",))
    if "file" not in table:
        shown = ", ".join(map(str, table.columns[:20]))
        raise UserError(place, f"has no column 'file', only {shown}", "add the path of each image as the column 'file'")
    for column in ("file", "identity"):
        if column in table and table[column].isna().any():
            row = int(table[column].isna().to_numpy().argmax()) + 1
            raise UserError(place, f"has no {column} for image {row}", "fill the column, or leave the row out")
    for column in (f"{landmark}_{axis}" for landmark in LANDMARKS for axis in "xy"):
        if column in table and not (is_numeric_dtype(table[column]) and not np.isinf(table[column]).any()):
            raise UserError(
                place, f"the column {column!r} holds what is no number", "give pixels of the files, or none"
            )
    if "split" in table and not table["split"].isin(SPLITS).all():
        wrong = table["split"][~table["split"].isin(SPLITS)].iloc[0]
        raise UserError(place, f"the column 'split' holds {wrong!r}", f"use {', '.join(SPLITS)}, or leave it out")
    return table
