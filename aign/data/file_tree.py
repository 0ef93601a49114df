"""A folder to read from: a local path, or any address that fsspec knows (``s3://bucket/faces``)."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from aign.data.skipped import printable
from aign.errors import UserError
from aign.storage.filesystem import open_filesystem, reading


class Unreadable(UserError):
    """One file cannot be read; others of its folder may be."""


class FileTree:
    """All files under a folder, by their path in it, with ``/``, or one file. Links to folders are followed.

    Only regular files are opened, so that no pipe is waited for. Keys, region and endpoint of a store come from the
    environment. Raises UserError for a folder that is not there or holds no file, and for a store that does not answer.
    """

    stamps: dict[str, str]
    """Of every file, a text that changes when the file does."""
    odd: dict[str, str]
    """What is there and cannot be read as a file, and why: folders, links to nothing, pipes, files without rights."""

    def __init__(self, source: str | Path) -> None:
        self.source = str(source)
        with reading(self.source):
            self._files = (_StoredFiles if "://" in self.source else _LocalFiles)(self.source)
            found = sorted(self._files.entries())
        self.stamps = {path: stamp for path, stamp, reason in found if not reason}
        self.odd = {path: reason for path, _, reason in found if reason}
        if not self.stamps:
            raise UserError(self.source, "no such folder, or nothing in it", "give the folder that holds the files")

    def place(self, path: str) -> str:
        """The address of a file."""
        return f"{self.source}/{path}" if self._files.is_folder else self.source

    def read(self, path: str) -> bytes:
        """The content of a file. Raises Unreadable if it is not there or cannot be read, and UserError for a store that
        does not answer. Safe to call from several threads."""
        place = self.place(path)
        if path not in self.stamps:
            raise Unreadable(place, self.odd.get(path, "no such file"), "put the file there")
        with reading(place):
            return self._files.read(path)

    def find(self, name: str, *folders: str) -> str | None:
        """The path of a file that lies at the top or in one of the folders; None if nothing of that name does.

        Raises UserError for something of that name that is no readable file.
        """
        for path in (name, *(f"{folder}/{name}" for folder in folders)):
            if path in self.odd:
                raise UserError(self.place(path), self.odd[path], "put the file itself there")
            if path in self.stamps:
                return path
        return None


class _LocalFiles:
    def __init__(self, source: str) -> None:
        place = Path(os.path.expanduser(source))
        self.is_folder = not os.path.isfile(place)
        self._root = place if self.is_folder else place.parent
        self._only = place.name

    def entries(self) -> Iterator[tuple[str, str, str]]:
        """Path, stamp, and why it is no readable file."""
        if not self.is_folder:
            yield (self._only, *_looked_at(self._root / self._only))
            return
        seen: set[str] = set()
        closed: list[OSError] = []
        for folder, inner, files in os.walk(self._root, followlinks=True, onerror=closed.append):
            place = os.path.realpath(folder)
            if place in seen:  # a link that leads back
                inner.clear()
                continue
            seen.add(place)
            yield from ((self._path(folder, name), "", "is a folder") for name in inner)
            yield from ((self._path(folder, name), *_looked_at(Path(folder, name))) for name in files)
        for error in closed:
            if Path(error.filename) != self._root:
                yield self._path(error.filename), "", f"cannot be opened ({error.strerror})"
            elif not isinstance(error, FileNotFoundError):
                raise error

    def _path(self, *parts: str) -> str:
        return Path(*parts).relative_to(self._root).as_posix()

    def read(self, path: str) -> bytes:
        place = self._root / path
        try:
            return place.read_bytes()
        except OSError as error:
            remedy = "copy it again, or check your rights to it"
            raise Unreadable(place, f"cannot be read ({error.strerror})", remedy) from None


def _looked_at(place: Path) -> tuple[str, str]:
    """The stamp of a file, or why it is none."""
    if printable(place.name) != place.name:
        return "", "has a name that is not UTF-8, which no table can hold"
    try:
        found = place.stat()
    except OSError as error:
        return "", "is a link to nothing" if place.is_symlink() else f"cannot be read ({error.strerror})"
    if not stat.S_ISREG(found.st_mode):
        return "", "is a pipe, a socket or a device"
    if not os.access(place, os.R_OK):
        return "", "cannot be read (Permission denied)"
    return f"{found.st_size} {found.st_mtime_ns}", ""


class _StoredFiles:
    is_folder = True

    def __init__(self, source: str) -> None:
        self._source = source
        self._system, root = open_filesystem(source)
        self._start = f"{root}/"
        self._how = {"max_concurrency": 1} if source.startswith("s3://") else {}  # or else the size is asked for first

    def entries(self) -> Iterator[tuple[str, str, str]]:
        for path, info in self._system.find(self._start.rstrip("/"), detail=True).items():
            times = (info[key] for key in ("ETag", "mtime", "LastModified", "last_modified") if key in info)
            if path.startswith(self._start):
                yield path.removeprefix(self._start), f"{info.get('size')} {next(times, '')}", ""

    def read(self, path: str) -> bytes:
        try:
            return self._system.cat_file(self._start + path, **self._how)
        except FileNotFoundError:
            raise Unreadable(f"{self._source}/{path}", "no such file", "put the file there") from None
