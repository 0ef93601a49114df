"""A folder of this machine: files appear in it as a whole, and every error names its path."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aign.storage.errors import NotRemoved, local_error, not_read_back

PARTIAL = ".partial"
"""The end of the name of a file that is still being written."""


class LocalFolder:
    """What :class:`aign.storage.store.Store` does, under a path of this machine."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    def child(self, path: str) -> "LocalFolder":
        return LocalFolder(str(self._root / path))

    def write(self, path: str, data: bytes) -> None:
        with self._errors(path), self._replacing(path) as file:
            file.write(data)

    def upload(self, local_file: Path, path: str) -> None:
        with self._errors(path), open(local_file, "rb") as source, self._replacing(path) as file:
            shutil.copyfileobj(source, file, 1 << 20)

    def read(self, path: str) -> bytes:
        with self._errors(path):
            return (self._root / path).read_bytes()

    def exists(self, path: str) -> bool:
        with self._errors(path):
            place = self._root / path
            return any(_visible(place)) if place.is_dir() else place.exists()  # as in S3, an empty folder is none

    def names(self, path: str) -> list[str]:
        with self._errors(path):
            place = self._root / path
            return [p.name for p in _visible(place)] if place.is_dir() else []

    def fetch(self, path: str, local_file: Path) -> None:
        with self._errors(path):
            shutil.copyfile(self._root / path, local_file)

    def download(self, path: str, local_folder: Path) -> None:
        source = self._root / path
        with self._errors(path):
            files = [p for p in sorted(source.rglob("*")) if p.is_file() and not p.name.endswith(PARTIAL)]
            if not files:
                raise FileNotFoundError(str(source))
            for file in files:
                with arriving(local_folder / file.relative_to(source)) as partial:
                    shutil.copyfile(file, partial)

    def remove(self, path: str) -> None:
        place = self._root / path
        with self._errors(path):
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            elif place.exists() or place.is_symlink():
                place.unlink()

    def check(self) -> NotRemoved | None:
        with self._errors(""):
            # Above the folder if it is not there yet: a check must not create it.
            place = next(p for p in [self._root, *self._root.parents] if p.exists())
            if not place.is_dir():
                raise NotADirectoryError
            with tempfile.TemporaryDirectory(prefix=".aign_check_", dir=place) as folder:
                probe = Path(folder) / "probe"
                probe.write_bytes(b"aign")
                if probe.read_bytes() != b"aign":
                    raise not_read_back(str(self._root))
        return None  # a place that refuses removals would have refused the renames of what is written

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            told = local_error(error, str(self._root / path))
            if told is error:
                raise
            raise told from None

    @contextmanager
    def _replacing(self, path: str):
        """A new file that takes the place of ``path`` when it is complete and on disk."""
        with arriving(self._root / path) as partial, open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())


def _visible(folder: Path) -> Iterator[Path]:
    return (p for p in folder.iterdir() if not p.name.endswith(PARTIAL))


@contextmanager
def arriving(target: Path) -> Iterator[Path]:
    """A path to write beside ``target``; it becomes ``target`` if nothing is raised, and goes away otherwise."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        yield partial
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
