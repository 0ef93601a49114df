"""What is made once and kept: decoded images, learnt judges. The environment's ``AIGN_CACHE`` says where.

Without it, or with a folder in it, every machine keeps its own. With ``s3://bucket/prefix`` all machines share what one
of them has made, and each has a copy in its user's cache: so a command makes it before machines with GPUs are asked
for, and these fetch a few large files. Nothing in a cache is needed: delete it at will.

    PREFIX/NAME/HASH            a file's content. Two machines that make the same at once do not mix what they send
    PREFIX/NAME/manifest.json   the hash of every file, written last: what has none is not there

Nothing is unpickled: whoever may write to the cache can change pixels, but run nothing.
"""

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from aign.errors import UserError
from aign.storage.errors import DiskAway, StoreAway
from aign.storage.store import Store

MANIFEST = "manifest.json"
_ABOUT = b"What aign has made once. Nothing here is needed: delete it at will.\n"


class CacheError(UserError):
    """Nothing can be kept: in contrast to a mistake in what was to be made."""


def shared_cache() -> str | None:
    """The address that machines share, if ``AIGN_CACHE`` names one."""
    named = os.environ.get("AIGN_CACHE", "")
    return named.rstrip("/") if "://" in named else None


def local_cache() -> Path:
    """This machine's folder. One for each shared cache: what lies in it lies, or belongs, in that one too."""
    named, shared = os.environ.get("AIGN_CACHE"), shared_cache()
    if named and not shared:
        return Path(os.path.expanduser(named))
    try:
        own = user_cache_path("aign")
    except RuntimeError:
        raise CacheError("HOME", "is not set, and this user has no home", "set it to a folder to write to") from None
    return own / shared.replace("://", "/") if shared else own


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """The folder called ``name``: this machine's, else fetched from the shared cache, else made now and kept in both.

    ``make`` writes files into an empty folder. The name has to say all that they depend on. Those who ask at the same
    time on one machine wait for the first. Raises CacheError for a cache that cannot be read or written, before
    anything is made.
    """
    folder, address = local_cache() / name, shared_cache()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if address:
                _with_others(folder, make, address)
            elif not folder.exists():
                _make(folder, make)
    except DiskAway as away:
        raise CacheError(folder.parent, f"cannot hold what is made once ({away.reason})", away.remedy) from None
    except OSError as error:
        remedy = "make room there" if address else "set AIGN_CACHE to a folder with room that you may write to"
        reason = f"cannot hold what is made once ({error.strerror or error})"
        raise CacheError(folder.parent, reason, remedy) from None
    return folder


def _with_others(folder: Path, make: Callable[[Path], None], address: str) -> None:
    """As ``made_once``; a folder with a manifest is one that the shared cache has been given, or has given."""
    if (folder / MANIFEST).exists():
        return
    shared = _Shared(address, folder.name)
    if not folder.exists() and not shared.fetch(folder):
        shared.check()
        _make(folder, make)
    if not (folder / MANIFEST).exists():
        shared.give(folder)


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    with _arriving(folder) as partial:
        make(partial)


@contextmanager
def _arriving(folder: Path) -> Iterator[Path]:
    """An empty folder that becomes ``folder`` if nothing is raised, and goes away otherwise."""
    partial = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.partial")
    partial.mkdir()
    try:
        yield partial
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class _Shared:
    """One name in a shared cache."""

    def __init__(self, address: str, name: str) -> None:
        self._address = address
        with _told(address):
            self._store = Store(address.removeprefix("file://"))
        self._folder = self._store / name

    def fetch(self, folder: Path) -> bool:
        """Make it this folder. False if it is not there, or not whole."""
        with _told(self._address):
            try:
                manifest = self._folder.read(MANIFEST)
                with _arriving(folder) as partial:
                    for file, known in _files(manifest).items():
                        self._folder.fetch(known, partial / file)
                        if _hash(partial / file) != known:
                            raise _Damaged
                    (partial / MANIFEST).write_bytes(manifest)
            except (FileNotFoundError, _Damaged):
                return False
        return True

    def check(self) -> None:
        """Raises CacheError unless something can be written: what is made may take an hour."""
        with _told(self._address, keeps=True):
            self._store.write("README.txt", _ABOUT)

    def give(self, folder: Path) -> None:
        """Keep what this folder holds, and then in it, to remember that, the manifest."""
        files = {path.name: _hash(path) for path in sorted(folder.iterdir())}
        manifest = json.dumps(files, indent=1).encode()
        with _told(self._address, keeps=True):
            for file, known in files.items():
                self._folder.upload(folder / file, known)
            self._folder.write(MANIFEST, manifest)
        (folder / MANIFEST).write_bytes(manifest)


class _Damaged(Exception):
    """Not what was put there."""


@contextmanager
def _told(address: str, keeps: bool = False) -> Iterator[None]:
    try:
        yield
    except DiskAway:
        raise  # of this machine, not of the address
    except (UserError, StoreAway) as error:
        what = "what is made cannot be kept there" if keeps else "what was made cannot be fetched"
        raise CacheError(address, f"{what}: {error.reason}", error.remedy) from None


def _files(manifest: bytes) -> dict[str, str]:
    """The hash of every file. Raises _Damaged for what says anything else, such as a path to another folder."""
    try:
        files = json.loads(manifest)
    except ValueError:
        raise _Damaged from None
    if not isinstance(files, dict) or not all(re.fullmatch(r"\w[\w.]*", name) for name in files):
        raise _Damaged
    if not all(isinstance(known, str) and re.fullmatch("[0-9a-f]{64}", known) for known in files.values()):
        raise _Damaged
    return files


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
