"""Files that a command writes to this machine's disk: what cannot be written is refused before the work.

A file is written under another name and renamed, so a reader sees the old content or the new, never a part.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from aign.errors import UserError

_PROBE = bytes(1 << 16)
_DISK_ERROR = re.compile(r"I/O error: (.*?)(?: \(os error \d+\))?$")
_REMEDY = "choose a place that you may write to and that has room"


def check_file(path: Path) -> None:
    """Raises UserError unless the file can be written. Nothing is made, and what is there stays."""
    if path.parts and path.parts[0].endswith(":"):
        raise UserError(path, "is not a place on this machine", "give a local path")
    with disk_errors(path):
        if path.is_dir():
            raise UserError(path, "is a folder, not a file", "give the name of a file")
        if not path.exists() or path.is_file():
            _check_room(path.parent)
        elif not os.access(path, os.W_OK):  # a pipe or a device
            raise UserError(path, "cannot be written", _REMEDY)


def check_folder(folder: Path) -> None:
    """Raises UserError unless files can be written into the folder, which need not be there yet."""
    with disk_errors(folder):
        _check_room(folder)


def write_file(path: Path, content: bytes) -> None:
    """Write a file and the folders above it. Raises UserError for an error of the disk."""
    with disk_errors(path):
        if path.exists() and not path.is_file():  # a pipe or a device: nothing may take its place
            path.write_bytes(content)
            return
        target = path.resolve()  # a link stays one
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".aign-", dir=target.parent) as scratch:
            partial = Path(scratch) / "partial"
            with open(partial, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, target)


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """An empty folder to write files into, which move to ``folder`` at the end, or go away if anything is raised.

    Other files that are there already stay. Raises UserError for an error of the disk.
    """
    with disk_errors(folder):
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".aign-", dir=folder))
        try:
            yield scratch
            for file in sorted(scratch.iterdir()):
                os.replace(file, folder / file.name)
            is_new = False
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            if is_new:
                with suppress(OSError):  # another program's files are in it by now
                    folder.rmdir()


def _check_room(folder: Path) -> None:
    """Write something into a folder or, as a check must not make it, into the nearest one above it that is there."""
    there = next(place for place in [folder, *folder.absolute().parents] if place.exists())
    if not there.is_dir():
        raise UserError(there, "is a file, not a folder", "choose another place")
    with tempfile.TemporaryFile(prefix=".aign-", dir=there) as probe:
        probe.write(_PROBE)
        probe.flush()
        os.fsync(probe.fileno())


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns an error of the disk, as Python or safetensors tell it, into a UserError about what was to be written."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise UserError(path, f"cannot be written ({reason})", _REMEDY) from None
    except SafetensorError as error:
        if not (said := _DISK_ERROR.search(str(error))):
            raise
        raise UserError(path, f"cannot be written ({said[1].lower()})", _REMEDY) from None
