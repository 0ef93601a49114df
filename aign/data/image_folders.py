"""Any folder of images, with what a table says about them or without one."""

import io
from pathlib import Path

import pandas as pd

from aign.data.file_tree import FileTree
from aign.data.image_files import image_set, is_image
from aign.data.images import SPLITS, ImageSet, split_by
from aign.errors import UserError

TABLE = "attributes.csv"


def load_image_folder(
    source: str | Path, *, size: int = 64, table: str | None = None, crop_px: int | None = None, strict: bool = False
) -> ImageSet:
    """The images under a folder (or at ``s3://bucket/prefix``): the middle square of each, resized to ``size``.

    ``table`` is a CSV file in the folder, ``attributes.csv`` if there is one. Its column ``file`` names the images by
    their path in the folder; every other column is kept. ``split`` (train, validation or test) and ``identity`` are
    optional: without ``split``, one is made that keeps the images of an identity together. Landmark columns (see
    ``aign.data.images.LANDMARKS``) are in pixels of the files. Without a table all images are taken, with the folder
    each lies in as the column ``folder``.

    Broken images and those that the table names in vain are skipped, or with ``strict`` a UserError. Raises UserError
    for a folder without images and a table that cannot be read or lacks ``file``.
    """
    tree = FileTree(source)
    if table is None:
        table = tree.find(TABLE)
    known = _found(tree) if table is None else _read(tree, table)
    if "split" not in known:
        known["split"] = split_by(known["identity" if "identity" in known else "file"].tolist())
    return image_set(f"images of {tree.source}", tree, known, size=size, crop_px=crop_px, strict=strict)


def _found(tree: FileTree) -> pd.DataFrame:
    files = sorted(path for path in tree.stamps if is_image(path))
    if not files:
        raise UserError(tree.source, "holds no images", "give a folder of .jpg, .png or other images")
    return pd.DataFrame({"file": files, "folder": [path.rpartition("/")[0] for path in files]})


def _read(tree: FileTree, name: str) -> pd.DataFrame:
    place = f"{tree.source}/{name}"
    if name not in tree.stamps:
        raise UserError(place, "no such file", "give the table's path in the folder of images")
    try:
        table = pd.read_csv(io.BytesIO(tree.read(name)), encoding="utf-8-sig", dtype={"file": "str"})
    except (ValueError, pd.errors.ParserError) as error:
        raise UserError(place, f"is not a CSV table ({str(error).splitlines()[0]})", "save it as CSV, UTF-8") from None
    if "file" not in table:
        shown = ", ".join(map(str, table.columns[:20]))
        raise UserError(place, f"has no column 'file', only {shown}", "add the path of each image as the column 'file'")
    if table["file"].isna().any() or table["file"].duplicated().any():
        raise UserError(place, "names no file in a row, or one twice", "give every image one row")
    if "split" in table and not table["split"].isin(SPLITS).all():
        wrong = table["split"][~table["split"].isin(SPLITS)].iloc[0]
        raise UserError(place, f"the column 'split' holds {wrong!r}", f"use {', '.join(SPLITS)}, or leave it out")
    return table
