"""Where a verb's results go: ``--out`` and ``--json`` are a local path or ``s3://bucket/prefix`` for every verb.

json: FileOption | None = None  # a field of the verb's options

options.json.check()        # before the work
options.json.write(b"{}")   # after it, whole or not at all
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

from tyro.constructors import PrimitiveConstructorSpec

from aign.errors import UserError
from aign.outputs import check_file, check_folder, filling, write_file
from aign.storage.store import Store
from ray_jobs.worker.best_effort import note

T = TypeVar("T", bound="_Output")


class _Output:
    def __init__(self, place: str | Path) -> None:
        """``place`` is looked at by ``check``, not here."""
        self.place = str(place)
        if not self.place.strip() or "\0" in self.place:
            raise UserError(repr(self.place), "is not a place", "give a local path or s3://bucket/prefix")

    def __str__(self) -> str:
        return self.place

    @property
    def _is_remote(self) -> bool:
        return "://" in self.place

    @property
    def _path(self) -> Path:
        return Path(os.path.expanduser(self.place))  # which leaves ~ of nobody as it is


class OutputFile(_Output):
    """A file that a command writes at its end."""

    def check(self) -> None:
        """Raises UserError, in one line, for a place that cannot be written; leaves nothing behind."""
        if self.place.endswith("/"):
            raise UserError(self.place, "is a folder, not a file", "give the name of a file")
        if self._is_remote:
            _check(self._folder_and_name()[0])
        else:
            check_file(self._path)

    def write(self, content: bytes) -> None:
        """Raises UserError if it can be written no more, and StoreAway."""
        if self._is_remote:
            folder, name = self._folder_and_name()
            folder.write(name, content)
        else:
            write_file(self._path, content)

    def _folder_and_name(self) -> tuple[Store, str]:
        folder, _, name = Store(self.place).uri.rpartition("/")
        if folder.endswith("/"):
            raise UserError(self.place, "is a bucket, not a file", "give s3://bucket/prefix/file")
        return Store(folder), name


class OutputFolder(_Output):
    """A folder that a command writes files into at its end."""

    def check(self) -> None:
        """Raises UserError, in one line, for a place that cannot be written; leaves nothing behind."""
        if self._is_remote:
            _check(Store(self.place))
        else:
            check_folder(self._path)

    @contextmanager
    def filling(self) -> Iterator[Path]:
        """An empty local folder; the files in it arrive, each as a whole, unless anything is raised.

        Raises UserError if they can be written no more, and StoreAway.
        """
        if not self._is_remote:
            with filling(self._path) as folder:
                yield folder
            return
        with tempfile.TemporaryDirectory(prefix="aign-out-") as scratch:
            yield Path(scratch)
            for file in sorted(Path(scratch).iterdir()):
                Store(self.place).upload(file, file.name)


def _check(store: Store) -> None:
    if refused := store.check():
        note(f"{refused}; a file of this check stays there")


def _option(kind: type[T], metavar: str) -> PrimitiveConstructorSpec[T]:
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: kind(words[0]),
        is_instance=lambda value: isinstance(value, kind),
        str_from_instance=lambda output: [str(output)],
    )


FileOption = Annotated[OutputFile, _option(OutputFile, "FILE")]
FolderOption = Annotated[OutputFolder, _option(OutputFolder, "FOLDER")]
