"""A folder to read from: a local path, or any address that fsspec knows (``s3://bucket/faces``)."""

import os
from collections.abc import Iterator
from pathlib import Path

from aign.errors import UserError
from aign.stores import open_store, told


class FileTree:
    """All files under a folder, by their path in it, with ``/``. Links to folders are followed.

    Keys, region and endpoint of a store come from the environment. Raises UserError for a folder that is not there or
    holds no file, and for a store that does not answer.
    """

    stamps: dict[str, str]
    """Of every file, a text that changes when the file does."""

    def __init__(self, source: str | Path) -> None:
        self.source = str(source)
        with told(self.source):
            self._files = (_StoredFiles if "://" in self.source else _LocalFiles)(self.source)
            self.stamps = dict(sorted(self._files.stamps()))
        if not self.stamps:
            raise UserError(self.source, "no such folder, or nothing in it", "give the folder that holds the files")

    def read(self, path: str) -> bytes:
        """The content of a file. Raises UserError if it cannot be read. Safe to call from several threads."""
        with told(f"{self.source}/{path}"):
            return self._files.read(path)

    def find(self, name: str, *folders: str) -> str | None:
        """The path of a file that lies at the top or in one of the folders; None if it is in none."""
        paths = (name, *(f"{folder}/{name}" for folder in folders))
        return next((path for path in paths if path in self.stamps), None)


class _LocalFiles:
    def __init__(self, source: str) -> None:
        self._root = Path(source).expanduser()

    def stamps(self) -> Iterator[tuple[str, str]]:
        seen = set()
        for folder, inner, files in os.walk(self._root, followlinks=True):
            place = os.path.realpath(folder)
            if place in seen:  # a link that leads back
                inner.clear()
                continue
            seen.add(place)
            start = Path(folder).relative_to(self._root).as_posix()
            for name in files:
                found = os.stat(os.path.join(folder, name))
                yield name if start == "." else f"{start}/{name}", f"{found.st_size} {found.st_mtime_ns}"

    def read(self, path: str) -> bytes:
        return (self._root / path).read_bytes()


class _StoredFiles:
    def __init__(self, source: str) -> None:
        self._system, root = open_store(source)
        self._start = f"{root}/"
        self._how = {"max_concurrency": 1} if source.startswith("s3://") else {}  # or else the size is asked for first

    def stamps(self) -> Iterator[tuple[str, str]]:
        for path, info in self._system.find(self._start.rstrip("/"), detail=True).items():
            times = (info[key] for key in ("ETag", "mtime", "LastModified", "last_modified") if key in info)
            if path.startswith(self._start):
                yield path.removeprefix(self._start), f"{info.get('size')} {next(times, '')}"

    def read(self, path: str) -> bytes:
        return self._system.cat_file(self._start + path, **self._how)
