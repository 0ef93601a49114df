"""Arrays that other programs have put into npz files, checked against what is expected. Nothing is unpickled."""

import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from aign.errors import UserError

Kind = Literal["numbers", "whole numbers", "texts"]
_DTYPES: dict[Kind, str] = {"numbers": "iuf", "whole numbers": "iu", "texts": "U"}
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    ValueError,
    TypeError,
    OSError,
    NotImplementedError,
    MemoryError,
)


@dataclass(frozen=True)
class Column:
    """What an array holds, and its shape: None is any length above zero."""

    kind: Kind
    shape: tuple[int | None, ...]

    def check(self, where: object, array: np.ndarray) -> None:
        """Raises UserError for an array of another kind or shape."""
        if array.dtype.kind not in _DTYPES[self.kind]:
            raise UserError(where, f"holds no {self.kind} (they are {array.dtype.name})", "export it again")
        fits = array.ndim == len(self.shape) and all(
            length > 0 if wanted is None else length == wanted
            for length, wanted in zip(array.shape, self.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if length is None else str(length) for length in self.shape)
            raise UserError(where, f"has the shape {array.shape}, expected ({wanted})", "export it again")


def read_columns(path: Path, columns: Mapping[str, Column], missing: str) -> dict[str, np.ndarray]:
    """These arrays of an npz file. Raises UserError for a missing or damaged file, and for a column that is none.

    ``missing`` is the remedy where there is no such file.
    """
    arrays = read_npz(path, missing, "copy it again, it may be truncated")
    for name, column in columns.items():
        if name not in arrays:
            raise UserError(path, f"column {name!r} is missing", f"the file needs {', '.join(columns)}")
        column.check(f"{path}: {name}", arrays[name])
    return {name: arrays[name] for name in columns}


def read_npz(path: Path, missing: str, damaged: str) -> dict[str, np.ndarray]:
    """All arrays of an npz file. Raises UserError, with one remedy or the other, if they cannot be read."""
    if not os.path.isfile(path):  # to open a pipe is to wait for its other end
        raise UserError(path, "no such file", missing)
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except _UNREADABLE:  # TypeError: an .npy, which is no context
        raise UserError(path, "truncated, pickled or no npz file of plain arrays", damaged) from None
