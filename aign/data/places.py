"""Where real data lies, the folder named by AIGN_DATA, and where what was made of it is kept, AIGN_CACHE."""

import os
from pathlib import Path

from platformdirs import user_cache_path

from aign.errors import UserError


def data_file(*parts: str) -> Path:
    """``$AIGN_DATA/parts...``, which must exist. Raises UserError naming what is missing where."""
    root = os.environ.get("AIGN_DATA")
    if not root:
        raise UserError("AIGN_DATA", "is not set", f"set it to the folder that holds {'/'.join(parts)}")
    path = Path(root, *parts)
    if not path.exists():
        raise UserError(path, "no such file", f"put {'/'.join(parts)} into the folder AIGN_DATA names, now {root}")
    return path


def cache_folder() -> Path:
    """The folder that ``AIGN_CACHE`` names, or the user's cache. Nothing in it is needed: delete it at will."""
    named = os.environ.get("AIGN_CACHE")
    return Path(named).expanduser() if named else user_cache_path("aign")
