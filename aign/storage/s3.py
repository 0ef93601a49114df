"""The S3 client: connections, and a folder of a bucket in which files appear as a whole.

Keys, region and endpoint come from the environment, as it is when a process connects.
"""

import asyncio
import os
import uuid
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from aign.errors import UserError
from aign.storage.address import inside
from aign.storage.errors import NotRemoved, StoreAway, not_read_back, s3_error
from aign.storage.local import arriving

_CHECK_SECONDS = 8.0  # bounds what no socket timeout covers: name resolution, a slow search for credentials
_SLOWEST_BYTES_PER_SECOND = 256 << 10  # an upload slower than this counts as lost and is tried again
_REMOVED_AT_ONCE = 16  # objects


def s3_system(connect_timeout: float = 5, read_timeout: float = 60, attempts: int = 3) -> Any:
    """A new s3fs file system."""
    import s3fs  # here: it takes half a second that a local path need not wait for
    from aiobotocore.session import AioSession
    from botocore.handlers import add_expect_header

    session = AioSession()
    # While it waits for the "100 continue" that this header asks for, no read timeout counts: a put would hang.
    session.unregister("before-call.s3", add_expect_header)
    region = os.environ.get("AWS_REGION")  # botocore itself reads only AWS_DEFAULT_REGION
    retries = {"mode": "standard", "total_max_attempts": attempts}
    return s3fs.S3FileSystem(
        session=session,
        skip_instance_cache=True,  # a cached one would keep the endpoint and keys of an earlier environment
        use_listings_cache=False,
        max_concurrency=4,  # bounds the memory of a large transfer to 4 parts of 50 MiB
        config_kwargs={"connect_timeout": connect_timeout, "read_timeout": read_timeout, "retries": retries},
        client_kwargs={"region_name": region} if region else {},
    )


class S3Client:
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


class S3Folder:
    """What :class:`aign.storage.store.Store` does, in a bucket."""

    def __init__(self, uri: str, client: S3Client | None = None) -> None:
        self._root, self._client = uri.removeprefix("s3://"), client or S3Client()

    def child(self, path: str) -> "S3Folder":
        return S3Folder(self._at(path), self._client)

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

    def fetch(self, path: str, local_file: Path) -> None:
        with self._errors(path) as system:
            system.get_file(self._at(path), str(local_file))

    def download(self, path: str, local_folder: Path) -> None:
        start = f"{self._at(path)}/"
        with self._errors(path) as system:
            keys = [k for k in system.find(self._at(path)) if k.startswith(start) and not k.endswith("/")]
            if not keys:
                raise FileNotFoundError(f"s3://{self._at(path)}")
            for key in keys:
                target = local_folder / PurePosixPath(inside(key[len(start) :]))  # a key may hold "..", a file may not
                with arriving(target) as partial:
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
                raise not_read_back(f"s3://{self._root}")
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
