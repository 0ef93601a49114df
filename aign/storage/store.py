"""One folder in storage, a local path or ``s3://bucket/prefix``, behind one small interface.

    store = Store("s3://bucket/runs") / "pose-01"
    store.write("config.json", b"{}")

The endpoint, the keys and the region come from the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_PROFILE, or the machine's role); none of them is kept in a :class:`Store`, so one
can be sent to any worker.
"""

from pathlib import Path

from aign.errors import UserError
from aign.storage.address import clean_address, inside
from aign.storage.errors import NotRemoved, StoreAway, not_read_back
from aign.storage.local import LocalFolder
from aign.storage.s3 import S3Folder


class Store:
    """One folder in storage. Paths inside it are relative, with ``/``, and may not leave it (ValueError).

    Every method raises :class:`StoreAway` when the store does not answer or asks for a pause, FileNotFoundError for
    what is not there, and UserError for what a person must mend. Safe to use from several threads, in a forked process,
    and pickled into a worker (which then uses its own environment's endpoint and credentials).
    """

    def __init__(self, uri: str | Path) -> None:
        """``uri`` is ``s3://bucket``, ``s3://bucket/prefix`` or a local path. Nothing is read or written yet."""
        self.uri = clean_address(str(uri))
        self._folder = S3Folder(self.uri) if self.uri.startswith("s3://") else LocalFolder(self.uri)

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.uri.rpartition("/")[2]

    def __truediv__(self, child: str) -> "Store":
        """The folder ``child`` in this one, over the same connections."""
        path = inside(child)
        if not path:
            raise ValueError("a child needs a name")
        store = object.__new__(Store)
        store.uri, store._folder = f"{self.uri.rstrip('/')}/{path}", self._folder.child(path)
        return store

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and other.uri == self.uri

    def __hash__(self) -> int:
        return hash(self.uri)

    def __reduce__(self):
        return Store, (self.uri,)  # never the connections, never credentials

    def write(self, path: str, data: bytes) -> None:
        """Make ``path`` hold ``data``: a reader sees the old content or the new, never a part."""
        self._folder.write(inside(path), data)

    def read(self, path: str) -> bytes:
        """The content of ``path``; FileNotFoundError if it is not there."""
        return self._folder.read(inside(path))

    def exists(self, path: str = "") -> bool:
        """Whether ``path`` is a file, or a folder with something in it."""
        return self._folder.exists(inside(path))

    def names(self, path: str = "") -> list[str]:
        """The names of the files and folders directly in the folder ``path``, sorted, as they are now; [] if absent."""
        return sorted(self._folder.names(inside(path)))

    def upload(self, local_file: Path, path: str) -> None:
        """Copy one local file to ``path``, as a whole or not at all; FileNotFoundError if it is not there."""
        self._folder.upload(Path(local_file), inside(path))

    def fetch(self, path: str, local_file: Path) -> None:
        """Copy the file ``path`` to ``local_file``; FileNotFoundError if it is not there."""
        self._folder.fetch(inside(path), Path(local_file))

    def download(self, path: str, local_folder: Path) -> None:
        """Copy all that is in the folder ``path`` into ``local_folder``; FileNotFoundError if nothing is there."""
        self._folder.download(inside(path), Path(local_folder))

    def remove(self, path: str) -> None:
        """Remove the file or the folder ``path`` with all that is in it; what is not there is fine.

        Raises NotRemoved if that is refused; a part of the folder may be gone then.
        """
        if not inside(path):
            raise ValueError("refusing to remove a whole store")
        try:
            self._folder.remove(inside(path))
        except UserError as refused:
            raise NotRemoved(refused.value, f"cannot be removed ({refused.reason})", refused.remedy) from None

    def check(self) -> NotRemoved | None:
        """Prove within seconds that this folder can be written, listed and read; leaves nothing behind.

        Returns why nothing can be removed there, in which case a file ``.aign_check_*`` stays. Raises UserError, in one
        line: the bucket does not exist, no credentials found, credentials refused, the store cannot be reached (with
        its endpoint), or the local path cannot be written.
        """
        try:
            return self._folder.check()
        except StoreAway as away:
            raise away.as_user_error(self.uri) from None
        except FileNotFoundError:  # as what was written a moment ago, or a server that knows no such request
            raise not_read_back(self.uri) from None
