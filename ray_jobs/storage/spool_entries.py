"""The folder of a spool: numbered entries on disk, each a manifest ``00000012.json`` and mostly a payload ``00000012``.

An entry exists when both are there. The manifest is written first and removed first, and a payload appears by a rename,
so a process that is killed anywhere leaves whole entries, or halves that the next one sweeps away.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from aign.errors import UserError
from aign.storage.errors import NotRemoved, StoreAway, local_error
from aign.storage.store import Store
from ray_jobs.storage.attempts import AlreadyRuns, Attempt

PARTIAL = ".partial"  # the end of the name of what is not whole, which the next process sweeps away
_SECONDS_FOR_A_PREDECESSOR = 20.0  # a process that was killed a moment ago


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing to do in the store."""

    number: int  # the order
    kind: str  # "file", "folder" or "removal"
    path: str  # in the store
    num_bytes: int
    store: str  # the address of the store it is meant for
    last: str = ""  # of a folder: the file to send when all others have arrived
    attempt: int = 0  # whose it is
    fenced: bool = True  # whether only the newest attempt may do it


class Entries:
    """Adds, sends and discards entries in ``folder``, for the store at ``store_uri``; not thread-safe by itself."""

    def __init__(self, folder: Path, store_uri: str) -> None:
        """Create the folder, or find what is in it.

        UserError if that waits for another store or on a disk error, AlreadyRuns if another process uses it.
        """
        self.folder, self._store_uri, self.attempt = folder.absolute(), store_uri, Attempt()
        meant_for = self.store_of(folder)
        if meant_for not in (None, store_uri):
            remedy = f"send them with python -m ray_jobs.storage.spool {folder}, or choose another folder"
            raise UserError(folder, f"results for {meant_for} wait here", remedy)
        with disk_errors(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(self.folder)
            self._sweep()
        self._next_number = max([int(p.stem) for p in _manifests(self.folder)], default=-1) + 1

    def leave(self) -> None:
        """From here on the folder may be another process's."""
        self._lock.release()

    @staticmethod
    def store_of(folder: Path) -> str | None:
        """The address of the store that the entries in ``folder`` wait for; None if there are none."""
        manifests = _manifests(Path(folder))
        return _read(manifests[0]).store if manifests else None

    def left_behind(self) -> list[Entry]:
        """The entries on disk, in their order."""
        return [_read(p) for p in _manifests(self.folder)]

    def add_file(self, path: str, data: bytes, fenced: bool) -> Entry:
        """An entry that writes ``data``."""
        entry = Entry(**self._new("file", path), num_bytes=len(data), fenced=fenced)
        return self._add(entry, lambda p: _write(p, data))

    def add_folder(self, path: str, source: Path, last: str) -> Entry:
        """An entry that sends a folder, which moves here."""
        num_bytes = sum(p.stat().st_size for p in source.rglob("*") if p.is_file())
        return self._add(Entry(**self._new("folder", path), num_bytes=num_bytes, last=last), lambda p: _move(source, p))

    def add_removal(self, path: str) -> Entry:
        """An entry that removes ``path``."""
        return self._add(Entry(**self._new("removal", path), num_bytes=0), lambda _: None)

    def send(self, entry: Entry, store: Store, arrived: set[str], not_removed: Callable[[NotRemoved], None]) -> None:
        """Do what ``entry`` says; ``arrived`` collects the files of a folder.

        ``not_removed`` is told of a removal that the store refuses. Raises what else the store raises, and Superseded
        for what only the newest attempt may do.
        """
        payload, attempt = self._payload(entry), Attempt(entry.attempt)
        if entry.fenced:
            attempt.check_newest(store)
        if entry.kind == "file":
            store.upload(payload, entry.path)
            return
        if not arrived:  # what an earlier attempt left under this path, above all its last file, must not mix with this
            try:
                store.remove(entry.path)
            except NotRemoved as refused:  # a reader that compares hashes sees what was written over
                not_removed(refused)
        if entry.kind == "folder":
            _send_folder(payload, entry, store, arrived, attempt)

    def discard(self, entry: Entry) -> None:
        """Forget ``entry``: it has arrived, or will not be sent."""
        self._manifest(entry).unlink(missing_ok=True)
        _delete(self._payload(entry))

    def _new(self, kind: str, path: str) -> dict:
        number, self._next_number = self._next_number, self._next_number + 1
        whose = {"store": self._store_uri, "attempt": self.attempt.number}
        return {"number": number, "kind": kind, "path": path, **whose}

    def _add(self, entry: Entry, make_payload: Callable[[Path], None]) -> Entry:
        with disk_errors(self.folder):
            _write(self._manifest(entry), json.dumps(asdict(entry)).encode())
            make_payload(self._payload(entry))
        return entry

    def _manifest(self, entry: Entry) -> Path:
        return self.folder / f"{entry.number:08d}.json"

    def _payload(self, entry: Entry) -> Path:
        return self.folder / f"{entry.number:08d}"

    def _sweep(self) -> None:
        """Remove the halves of entries that a killed process was adding or had already sent."""
        for manifest in _manifests(self.folder):
            entry = _read(manifest)
            if entry.kind != "removal" and not self._payload(entry).exists():
                manifest.unlink()
        whole = {p.stem for p in _manifests(self.folder)}
        for half in [p for p in self.folder.iterdir() if p.stem[:8].isdecimal() and p.stem not in whole]:
            _delete(half)
        for partial in self.folder.glob(f"*{PARTIAL}"):
            _delete(partial)


def _send_folder(payload: Path, entry: Entry, store: Store, arrived: set[str], attempt: Attempt) -> None:
    names = sorted(p.relative_to(payload).as_posix() for p in payload.rglob("*") if p.is_file())
    for name in [n for n in names if n != entry.last] + [entry.last]:
        if name not in arrived:
            if name == entry.last:  # others may have begun while this was on its way
                attempt.check_newest(store)
            store.upload(payload / name, f"{entry.path}/{name}")
            arrived.add(name)


def _manifests(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]" * 8 + ".json"))


def _read(manifest: Path) -> Entry:
    try:
        return Entry(**json.loads(manifest.read_bytes()))
    except (ValueError, TypeError):
        raise UserError(manifest, "is not an entry of a spool", "move it away") from None


def _locked(folder: Path) -> FileLock:
    """The right to use a folder, which ends with the process. Raises AlreadyRuns if another one has it."""
    lock = FileLock(f"{folder}.lock", timeout=_SECONDS_FOR_A_PREDECESSOR, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        reason = "another process of this machine is at work on the same run"
        raise AlreadyRuns(folder, reason, "wait for it, or stop it first") from None
    return lock


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(f"{path.name}{PARTIAL}")
    with open(partial, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _move(source: Path, target: Path) -> None:
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        partial = target.with_name(f"{target.name}{PARTIAL}")  # from another disk it has to be copied
        shutil.copytree(source, partial)
        os.rename(partial, target)
        shutil.rmtree(source)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns an error of the disk under the spool, full or forbidden, into a UserError."""
    try:
        yield
    except OSError as error:
        told = local_error(error, str(folder))
        if isinstance(told, StoreAway):
            told = UserError(folder, f"results cannot wait here ({error.strerror})", "make room on this disk")
        raise told from None
