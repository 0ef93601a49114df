"""One folder in storage, a local path or ``s3://bucket/prefix``, behind one small interface.

    store = Store("s3://bucket/runs") / "pose-01"
    store.write("config.json", b"{}")

The endpoint, the keys and the region come from the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_PROFILE, or the machine's role); none of them is kept in a :class:`Store`, so one
can be sent to any worker.
"""

import asyncio
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from aign.errors import UserError
from aign.options import absolute
from aign.store_errors import StoreAway, local_error, s3_error, unreachable
from aign.stores import s3_system

__all__ = ["NotRemoved", "Store", "StoreAway"]

_PARTIAL = ".partial"  # the end of the name of a file that is still being written
_CHECK_SECONDS = 8.0  # bounds what no socket timeout covers: name resolution, a slow search for credentials
_SLOWEST_BYTES_PER_SECOND = 256 << 10  # an upload slower than this counts as lost and is tried again
_REMOVED_AT_ONCE = 16  # objects


class NotRemoved(UserError):
    """A store refuses to remove what is in it. Everything else goes on."""


class Store:
    """One folder in storage. Paths inside it are relative, with ``/``, and may not leave it (ValueError).

    Every method raises :class:`StoreAway` when the store does not answer or asks for a pause, FileNotFoundError for
    what is not there, and UserError for what a person must mend. Safe to use from several threads, in a forked process,
    and pickled into a worker (which then uses its own environment's endpoint and credentials).
    """

    def __init__(self, uri: str | Path) -> None:
        """``uri`` is ``s3://bucket``, ``s3://bucket/prefix`` or a local path. Nothing is read or written yet."""
        self.uri = _clean_uri(str(uri))
        self._folder = _S3Folder(self.uri) if self.uri.startswith("s3://") else _LocalFolder(self.uri)

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.uri.rpartition("/")[2]

    def __truediv__(self, child: str) -> "Store":
        """The folder ``child`` in this one, over the same connections."""
        path = _inside(child)
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
        self._folder.write(_inside(path), data)

    def read(self, path: str) -> bytes:
        """The content of ``path``; FileNotFoundError if it is not there."""
        return self._folder.read(_inside(path))

    def exists(self, path: str = "") -> bool:
        """Whether ``path`` is a file, or a folder with something in it."""
        return self._folder.exists(_inside(path))

    def names(self, path: str = "") -> list[str]:
        """The names of the files and folders directly in the folder ``path``, sorted, as they are now; [] if absent."""
        return sorted(self._folder.names(_inside(path)))

    def upload(self, local_file: Path, path: str) -> None:
        """Copy one local file to ``path``, as a whole or not at all; FileNotFoundError if it is not there."""
        self._folder.upload(Path(local_file), _inside(path))

    def download(self, path: str, local_folder: Path) -> None:
        """Copy all that is in the folder ``path`` into ``local_folder``; FileNotFoundError if nothing is there."""
        self._folder.download(_inside(path), Path(local_folder))

    def remove(self, path: str) -> None:
        """Remove the file or the folder ``path`` with all that is in it; what is not there is fine.

        Raises NotRemoved if that is refused; a part of the folder may be gone then.
        """
        if not _inside(path):
            raise ValueError("refusing to remove a whole store")
        try:
            self._folder.remove(_inside(path))
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
            raise unreachable(self.uri, away) from None
        except FileNotFoundError:  # as what was written a moment ago, or a server that knows no such request
            raise _not_read_back(self.uri) from None


def _clean_uri(uri: str) -> str:
    """``uri`` in the one form that stands for it, or UserError."""
    if "://" not in uri:
        if not uri.strip():
            raise UserError("''", "is not a storage address", "give a local path or s3://bucket/prefix")
        return absolute(uri)  # workers start in other folders
    scheme, _, rest = uri.partition("://")
    bucket, _, prefix = rest.partition("/")
    shown = f"{scheme}://{bucket.rpartition('@')[2]}"
    if "@" in bucket:
        raise UserError(shown, "an address must not hold credentials", "give them in the environment")
    if scheme != "s3":
        raise UserError(shown, f"{scheme}:// is not supported", "give a local path or s3://bucket/prefix")
    if not re.fullmatch(r"[a-zA-Z0-9._-]{3,255}", bucket):
        raise UserError(shown, "this is not a valid bucket name", "give s3://bucket/prefix")
    try:
        path = _inside(prefix.rstrip("/"))
    except ValueError:
        raise UserError(uri, "the prefix has an empty part, . or ..", "give s3://bucket/prefix") from None
    return f"s3://{bucket}/{path}" if path else f"s3://{bucket}"


def _inside(path: str) -> str:
    """``path`` itself if it stays inside its folder, else ValueError."""
    if path and (path.startswith("/") or not set(path.split("/")).isdisjoint({"", ".", ".."})):
        raise ValueError(f"{path!r} is not a path inside a store")
    return path


def _not_read_back(uri: str) -> UserError:
    return UserError(uri, "cannot be written and read back", "check that this is a place for files")


class _LocalFolder:
    def __init__(self, root: str) -> None:
        self._root = Path(root)

    def child(self, path: str) -> "_LocalFolder":
        return _LocalFolder(str(self._root / path))

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

    def download(self, path: str, local_folder: Path) -> None:
        source = self._root / path
        with self._errors(path):
            files = [p for p in sorted(source.rglob("*")) if p.is_file() and not p.name.endswith(_PARTIAL)]
            if not files:
                raise FileNotFoundError(str(source))
            for file in files:
                with _arriving(local_folder / file.relative_to(source)) as partial:
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
                    raise _not_read_back(str(self._root))
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
        with _arriving(self._root / path) as partial, open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())


def _visible(folder: Path) -> Iterator[Path]:
    return (p for p in folder.iterdir() if not p.name.endswith(_PARTIAL))


@contextmanager
def _arriving(target: Path) -> Iterator[Path]:
    """A path to write beside ``target``; it becomes ``target`` if nothing is raised, and goes away otherwise."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}{_PARTIAL}")
    try:
        yield partial
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


class _S3Client:
    """An s3fs file system for each process: neither its event loop nor its sockets survive a fork."""

    def __init__(self) -> None:
        self._systems: dict[int, object] = {}  # a parent's is kept, unused: closing it would close the parent's sockets

    def system(self):
        pid = os.getpid()
        if pid not in self._systems:  # two threads may both make one; the loser's is never connected
            self._systems.setdefault(pid, self.connect(connect_timeout=5, read_timeout=60, attempts=3))
        return self._systems[pid]

    @staticmethod
    def connect(connect_timeout: float, read_timeout: float, attempts: int):
        system = s3_system(connect_timeout, read_timeout, attempts)
        system.retries = min(attempts, 2)  # on top of botocore's, for a connection lost in the middle of a body
        return system


class _S3Folder:
    def __init__(self, uri: str, client: _S3Client | None = None) -> None:
        self._root, self._client = uri.removeprefix("s3://"), client or _S3Client()

    def child(self, path: str) -> "_S3Folder":
        return _S3Folder(self._at(path), self._client)

    def write(self, path: str, data: bytes) -> None:
        with self._errors(path) as system:
            _send(system, system._pipe_file, self._at(path), data, num_bytes=len(data))

    def upload(self, local_file: Path, path: str) -> None:
        with self._errors(path) as system:
            num_bytes = local_file.stat().st_size
            _send(system, system._put_file, str(local_file), self._at(path), num_bytes=num_bytes)

    def read(self, path: str) -> bytes:
        with self._errors(path) as system:
            return system.cat_file(self._at(path), max_concurrency=1)  # one request: no size is asked for first

    def exists(self, path: str) -> bool:
        try:
            with self._errors(path) as system:
                system.info(self._at(path))
        except FileNotFoundError:
            return False
        return True

    def names(self, path: str) -> list[str]:
        try:
            with self._errors(path) as system:
                found = system.ls(self._at(path), detail=False, refresh=True)
        except FileNotFoundError:
            return []
        start = f"{self._at(path)}/"
        return [k[len(start) :].rstrip("/") for k in found if k.startswith(start) and k != start]

    def download(self, path: str, local_folder: Path) -> None:
        start = f"{self._at(path)}/"
        with self._errors(path) as system:
            keys = [k for k in system.find(self._at(path)) if k.startswith(start) and not k.endswith("/")]
            if not keys:
                raise FileNotFoundError(f"s3://{self._at(path)}")
            for key in keys:
                target = local_folder / PurePosixPath(_inside(key[len(start) :]))  # a key may hold "..", a file may not
                with _arriving(target) as partial:
                    system.get_file(key, str(partial))

    def remove(self, path: str) -> None:
        from fsspec.asyn import sync

        with self._errors(path) as system:
            sync(system.loop, _remove_each, system, system.find(self._at(path)))

    def check(self) -> NotRemoved | None:
        from fsspec.asyn import sync

        probe = f"{self._root}/.aign_check_{uuid.uuid4().hex}"
        with self._errors("", connect=lambda: self._client.connect(2, 4, 3)) as system:
            content, refused = sync(system.loop, _write_read_remove, system, probe, timeout=_CHECK_SECONDS)
            if content != b"aign":
                raise _not_read_back(f"s3://{self._root}")
        try:
            with self._errors(""):
                if refused:
                    raise refused
        except UserError as error:
            return NotRemoved(error.value, f"nothing can be removed there ({error.reason})", error.remedy)
        return None

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    @contextmanager
    def _errors(self, path: str, connect=None):
        try:
            yield (connect or self._client.system)()
        except (UserError, StoreAway):
            raise
        except Exception as error:
            told = s3_error(error, f"s3://{self._at(path)}")
            if told is error:
                raise
            raise told from None  # one line: the client's own error may quote what the server wrote


def _send(system, call, *args, num_bytes: int) -> None:
    """Run an upload, bounded: no socket timeout counts while a frozen server leaves a body half sent."""
    from fsspec.asyn import sync

    sync(system.loop, call, *args, timeout=180 + num_bytes / _SLOWEST_BYTES_PER_SECOND)


async def _remove_each(system, paths: list[str]) -> None:
    """Object by object: older stores and some others refuse a request that names several.

    It would need a Content-MD5 there, which botocore no longer sends.
    """
    for first in range(0, len(paths), _REMOVED_AT_ONCE):
        await asyncio.gather(*(system._rm_file(path) for path in paths[first : first + _REMOVED_AT_ONCE]))


async def _write_read_remove(system, probe: str) -> tuple[bytes, Exception | None]:
    """What comes back of a file, and why it could not be removed again."""
    refused = None
    await system._pipe_file(probe, b"aign")
    try:
        await system._lsdir(probe.rpartition("/")[0], refresh=True, max_items=1)
        content = await system._cat_file(probe, max_concurrency=1)
    finally:
        try:
            await _remove_each(system, [probe])
        except Exception as error:
            refused = error
    return content, refused
