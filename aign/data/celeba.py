"""CelebA (Liu, Luo, Wang and Tang, ICCV 2015): aligned faces with 40 attributes, identities and landmarks.

``$AIGN_DATA/celeba``, or any address: the folder ``img_align_celeba`` and the lists ``list_attr_celeba.txt``,
``list_eval_partition.txt``, and if they are there ``identity_CelebA.txt`` and ``list_landmarks_align_celeba.txt``. The
lists may lie in ``Anno`` and ``Eval``, the images in ``Img``, as they are published.
"""

import io
from pathlib import Path

import numpy as np
import pandas as pd

from aign.data.data_root import data_file
from aign.data.file_tree import FileTree
from aign.data.image_files import image_set
from aign.data.images import LANDMARKS, SPLITS, ImageSet
from aign.data.pictures import is_picture
from aign.errors import UserError

CROP_PX = 148
"""The middle square of the 178 x 218 pixels that holds the whole face and little else."""
_FOLDER = "img_align_celeba"
_ATTRIBUTES, _PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"
_IDENTITY, _LANDMARKS = "identity_CelebA.txt", "list_landmarks_align_celeba.txt"
_LARGEST = 2**53  # beyond it floats skip whole numbers
_LISTS: dict[str, dict] = {
    _ATTRIBUTES: {"skiprows": 1},  # how many rows there are; then the columns' names
    _PARTITION: {"header": None, "names": ["file", "split"], "index_col": "file"},
    _IDENTITY: {"header": None, "names": ["file", "identity"], "index_col": "file"},
    _LANDMARKS: {"skiprows": 1},
}


def load_celeba(
    source: str | Path | None = None, *, size: int = 64, crop_px: int = CROP_PX, strict: bool = False
) -> ImageSet:
    """CelebA's images with all that its lists say, in CelebA's own splits; by default from ``$AIGN_DATA/celeba``.

    Images that the lists name and that are missing or broken are skipped, or with ``strict`` a UserError. Raises
    UserError for a missing list and one that is not in CelebA's layout.
    """
    tree = FileTree(data_file("celeba") if source is None else source)
    table = _lists(tree).rename_axis("file").reset_index()
    return image_set("CelebA", tree, table, folder=_image_folder(tree), size=size, crop_px=crop_px, strict=strict)


def _lists(tree: FileTree) -> pd.DataFrame:
    """All that is known of the images, by file name."""
    lists = {
        name: _list(tree, name, **layout)
        for name, layout in _LISTS.items()
        if name in (_ATTRIBUTES, _PARTITION) or _find(tree, name)
    }
    for name, table in lists.items():
        if not table.index.equals(lists[_ATTRIBUTES].index):
            raise UserError(f"{tree.source}/{name}", f"lists other images than {_ATTRIBUTES}", "copy both again")
    _check(bool(lists[_ATTRIBUTES].isin((-1, 1)).all(axis=None)), tree, _ATTRIBUTES, "values other than 1 and -1")
    known = lists[_PARTITION]["split"].isin(range(len(SPLITS)))
    _check(bool(known.all()), tree, _PARTITION, "splits other than 0, 1 and 2")
    if _LANDMARKS in lists:
        ours = [f"{landmark}_{axis}" for landmark in LANDMARKS for axis in "xy"]
        _check(list(lists[_LANDMARKS].columns) == ours, tree, _LANDMARKS, "other landmarks")
    table = pd.concat(lists.values(), axis=1)
    return table.assign(split=table["split"].map(dict(enumerate(SPLITS))))


def _check(sound: bool, tree: FileTree, name: str, found: str) -> None:
    if not sound:
        raise UserError(f"{tree.source}/{name}", f"holds {found}", "copy CelebA's own again")


def _image_folder(tree: FileTree) -> str:
    for folder in (_FOLDER, f"Img/{_FOLDER}", f"{_FOLDER}/{_FOLDER}"):
        if any(path.startswith(f"{folder}/") and is_picture(path) for path in tree.stamps):
            return folder
    raise UserError(f"{tree.source}/{_FOLDER}", "no images there", f"unpack {_FOLDER}.zip into {tree.source}")


def _find(tree: FileTree, name: str) -> str | None:
    return tree.find(name, "Anno", "Eval")


def _list(tree: FileTree, name: str, **layout) -> pd.DataFrame:
    path = _find(tree, name)
    if path is None:
        raise UserError(f"{tree.source}/{name}", "no such file", f"put CelebA's {name} there")
    try:
        table = pd.read_csv(io.BytesIO(tree.read(path)), sep=r"\s+", dtype=str, **layout)
    except UnicodeDecodeError:
        raise UserError(f"{tree.source}/{path}", "is not UTF-8", "copy it again") from None
    except (ValueError, pd.errors.ParserError) as error:
        reason = f"is not in CelebA's layout ({str(error).splitlines()[0]})"
        raise UserError(f"{tree.source}/{path}", reason, "copy it again") from None
    numbers = table.apply(pd.to_numeric, errors="coerce")
    for row, column in np.argwhere(~(numbers % 1 == 0) | (numbers.abs() > _LARGEST)):
        found = f"{table.iat[row, column]!r} for {table.index[row]}, which is no whole number"
        _check(False, tree, path, found)
    return numbers.astype("int64")
