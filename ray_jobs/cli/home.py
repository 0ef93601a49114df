"""A home for a process that has none: containers run as any user, who often has none or may not write to it.

Ray keeps a token there, matplotlib and others a cache, and a spool its results.
"""

import contextlib
import os
import stat
import tempfile
from pathlib import Path

KEPT = {
    "AWS_SHARED_CREDENTIALS_FILE": ".aws/credentials",
    "AWS_CONFIG_FILE": ".aws/config",
    "RAY_AUTH_TOKEN_PATH": ".ray/auth_token",
}
"""Variables that name files in a home that can only be read, so that they are still found."""


def ensure_home() -> None:
    """Let HOME name a folder that this user can write to: one under the temporary folder unless it does."""
    home = Path(os.path.expanduser("~"))
    if home.is_absolute() and home.is_dir() and os.access(home, os.W_OK | os.X_OK):
        return
    for name, file in KEPT.items():
        if home.is_absolute() and os.access(home / file, os.R_OK):
            os.environ.setdefault(name, str(home / file))
    with contextlib.suppress(OSError):  # a disk without any place to write is told of where something is written
        os.environ["HOME"] = str(_private_folder())


def _private_folder() -> Path:
    """The same for all processes of a user, unless somebody else has taken its name."""
    folder = Path(tempfile.gettempdir()) / f"aign-home-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
        return folder
    return Path(tempfile.mkdtemp(prefix="aign-home-"))
