"""Where real data lies: in the folder named by AIGN_DATA."""

import os
from pathlib import Path

from aign.errors import UserError


def data_file(*parts: str) -> Path:
    """``$AIGN_DATA/parts...``, which must exist. Raises UserError naming what is missing where."""
    root = os.environ.get("AIGN_DATA")
    if not root:
        raise UserError("AIGN_DATA", "is not set", f"set it to the folder that holds {'/'.join(parts)}")
    path = Path(root, *parts)
    remedy = f"put {'/'.join(parts)} into the folder AIGN_DATA names, now {root}"
    if not os.path.exists(path):
        raise UserError(path, "no such file", remedy)
    if not (os.path.isfile(path) or os.path.isdir(path)):
        raise UserError(path, "is a pipe, a socket or a device", remedy)  # it would be waited for, perhaps for ever
    return path
