"""What is put here is on local disk first and follows to the store, in order, however long the store is away.

    spool = Spool(store, folder, say=print)
    spool.put("metrics/000000.jsonl", data)
    spool.put_folder(local, "checkpoints/step_0001000", last="state.json")
    spool.close(timeout_s=60)

``python -m ray_jobs.storage.spool FOLDER`` sends what a run that has ended left in FOLDER.
"""

import random
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from aign.errors import UserError
from aign.storage.errors import NotRemoved, StoreAway
from aign.storage.store import Store
from ray_jobs.storage.attempts import Attempt, Superseded
from ray_jobs.storage.spool_entries import PARTIAL, Entries, Entry, disk_errors
from ray_jobs.storage.waiting_room import about_disk, most_bytes, prepared_room

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_LONGEST_PAUSE_OF_FLUSH_S = 1.0  # while someone waits


class Spool:
    """Local disk in front of a store. One at a time for each folder; its methods may be called from any thread.

    While the store is away it keeps trying and says one line; one more when the store is back. An error that waiting
    does not mend (UserError) is said once, stops the sending, and is raised by :meth:`close`; what was put stays on
    disk. A removal that the store refuses is left out: the first is said, and at the end how many there were. Above
    ``max_bytes`` the oldest pictures that wait are dropped, then the oldest checkpoints but the newest; metrics never.
    When a newer attempt has begun, nothing waits any more and every call raises Superseded. ``arrived`` is told the
    path of every file or folder that is in the store, in the spool's thread.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        say: Callable[[str], None],
        arrived: Callable[[str], None] = lambda path: None,
        max_bytes: int | None = None,
    ) -> None:
        """Start, with what an earlier process left in ``folder`` first.

        UserError if that waits for another store, AlreadyRuns if another process uses the folder. Without ``max_bytes``
        the disk's free space decides.
        """
        self._store, self._say, self._arrived = store, say, arrived
        self._entries = Entries(Path(folder), store.uri)
        self._changed = threading.Condition()
        self._waiting: list[Entry] = self._entries.left_behind()
        self._max_bytes = max_bytes or most_bytes(folder) + self._num_bytes()
        self._sending: Entry | None = None
        self._error: UserError | None = None
        self._is_away = self._is_closing = self._bound_said = False
        self._num_flushing = self._num_not_removed = 0
        if self._waiting:
            say(f"sending {self._what_waits()} that an earlier run left in {folder} to {store.uri}")
        self._thread = threading.Thread(target=self._send_all, name="spool", daemon=True)
        self._thread.start()

    @classmethod
    def on_this_machine(
        cls, store: Store, say: Callable[[str], None], arrived: Callable[[str], None] = lambda path: None
    ) -> "Spool":
        """The spool of this machine for a store; says what a person should know of its disk. Raises as the class."""
        room = prepared_room(store)
        for known in about_disk(room):
            say(known)
        return cls(store, room, say, arrived)

    @property
    def obstacle(self) -> UserError | StoreAway:
        """Why something has not arrived."""
        again = "run the same command again when the store answers"
        return self.error or StoreAway(self._store.uri, "has not received what waits on this machine", again)

    @property
    def num_waiting(self) -> int:
        """How many files, folders and removals have not yet arrived."""
        return len(self._waiting)

    @property
    def error(self) -> UserError | None:
        """What has stopped the sending for good."""
        return self._error

    @property
    def what_waits(self) -> str:
        """How much has not arrived, and where it waits; empty if all has."""
        return f"{self._what_waits()} wait in {self._entries.folder}" if self._waiting else ""

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder on the spool's disk, to fill and put from; it goes at the end, or with the next process."""
        with disk_errors(self._entries.folder):
            folder = tempfile.TemporaryDirectory(suffix=PARTIAL, dir=self._entries.folder, ignore_cleanup_errors=True)
        with folder as name:
            yield Path(name)

    def begin(self, attempt: Attempt) -> None:
        """What is put from here on is of this attempt."""
        self._entries.attempt = attempt

    def put(self, path: str, data: bytes, fenced: bool = False) -> None:
        """Send ``data`` to ``path``. It is on disk when this returns; UserError if the local disk refuses it.

        A ``fenced`` file is sent only if no newer attempt has begun, as folders and removals are; one whose name says
        whose it is needs no fence.
        """
        with self._newest():
            self._queue(self._entries.add_file(path, data, fenced))

    def put_folder(self, local_folder: Path, path: str, last: str) -> None:
        """Move ``local_folder`` into the spool and send it to ``path``, in place of what is there.

        The file named ``last`` follows when all others have arrived: it makes the folder valid for readers.
        FileNotFoundError if it is not there.
        """
        if not (Path(local_folder) / last).is_file():
            raise FileNotFoundError(f"{local_folder} has no {last}")
        with self._newest():
            self._queue(self._entries.add_folder(path, Path(local_folder), last))

    def remove(self, path: str) -> None:
        """Remove ``path`` from the store when all that was put before has arrived."""
        with self._newest():
            removal = self._entries.add_removal(path)
            self._drop([e for e in self._waiting if PurePosixPath(e.path).is_relative_to(path)])
            self._queue(removal)

    def flush(self, timeout_s: float | None) -> bool:
        """Wait until all has arrived: True; False after ``timeout_s`` or when an error has stopped the sending.

        None waits without a bound.
        """
        with self._changed:
            self._num_flushing += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: not self._waiting or self._error, timeout_s)
            finally:
                self._num_flushing -= 1
            return not (self._waiting or self._error)

    def close(self, timeout_s: float | None) -> None:
        """Flush and stop; says where the rest waits if there is one. Raises the UserError that stopped the sending."""
        arrived = self.flush(timeout_s)
        with self._changed:
            first_time, self._is_closing = not self._is_closing, True
            self._changed.notify_all()
        self._thread.join(1.0)  # more only while it is inside an upload, which a later spool repeats
        self._entries.leave()
        if first_time and self._num_not_removed:
            self._say(f"{self._store.uri} refused {self._num_not_removed} removals; what was to go is still there")
        if not arrived and first_time and self._waiting:
            self._say(f"{self.what_waits}; send them with: python -m ray_jobs.storage.spool {self._entries.folder}")
        if self._error:
            raise self._error

    @contextmanager
    def _newest(self) -> Iterator[None]:
        """The lock, unless a newer attempt has begun."""
        with self._changed:
            if isinstance(self._error, Superseded):
                raise self._error
            yield

    def _queue(self, entry: Entry) -> None:
        self._waiting.append(entry)
        self._keep_bound()
        self._changed.notify_all()

    def _keep_bound(self) -> None:
        excess = self._num_bytes() - self._max_bytes
        if excess <= 0:
            return
        if not self._bound_said:
            self._bound_said = True
            self._say(
                f"{self._what_waits()} wait in {self._entries.folder}, more than {self._max_bytes / 2**20:.0f} MiB:"
                " the oldest pictures, then the oldest checkpoints that wait are dropped"
            )
        files = [e for e in self._waiting if e.kind == "file"]
        pictures = [e for e in files if "pictures" in PurePosixPath(e.path).parts]
        folders = [e for e in self._waiting if e.kind == "folder" and "checkpoints" in PurePosixPath(e.path).parts][:-1]
        for entry in pictures + folders:
            if excess > 0 and self._drop([entry]):
                excess -= entry.num_bytes

    def _drop(self, entries: list[Entry]) -> bool:
        """Forget entries that are not being sent; whether any was forgotten."""
        dropped = [e for e in entries if e is not self._sending]
        for entry in dropped:
            self._waiting.remove(entry)
            self._entries.discard(entry)
        return bool(dropped)

    def _send_all(self) -> None:
        while (entry := self._next()) is not None:
            if not self._send_until_arrived(entry):
                return
            with self._changed:
                if self._is_closing:
                    return  # the folder may already belong to another spool, which sends this entry again
                self._sending = None
                self._drop([entry])
                self._changed.notify_all()

    def _next(self) -> Entry | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            self._sending = self._waiting[0] if self._waiting and not self._is_closing else None
            return self._sending

    def _send_until_arrived(self, entry: Entry) -> bool:
        """Whether ``entry`` has arrived or is left out; False when closing or when an error stops all sending."""
        num_failures = 0
        arrived: set[str] = set()  # files of a folder that need not be sent again after an outage
        while not self._is_closing:
            try:
                self._entries.send(entry, self._store, arrived, self._count_not_removed)
            except StoreAway as away:
                self._say_away(away)
                self._pause(num_failures)
                num_failures += 1
            except Superseded as superseded:
                if entry.attempt == self._entries.attempt.number:
                    return self._end(superseded)
                self._say(f"{entry.path} is left out: {superseded}")
                return True
            except UserError as error:
                return self._stop(error)
            except Exception as error:  # a thread that dies silently would leave a run whose results never arrive
                reason = f"cannot be sent ({type(error).__name__}: {error})"
                return self._stop(UserError(self._entries.folder, reason, "look at this folder"))
            else:
                self._say_back()
                if entry.kind != "removal":
                    self._arrived(entry.path)
                return True
        return False

    def _pause(self, num_failures: int) -> None:
        """Exponential, and random so that many workers do not come back at the same moment."""
        seconds = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**num_failures) * random.uniform(0.5, 1)
        with self._changed:
            was_flushing = self._num_flushing > 0
            if was_flushing:
                seconds = min(seconds, _LONGEST_PAUSE_OF_FLUSH_S)
            self._changed.wait_for(lambda: self._is_closing or (self._num_flushing > 0) > was_flushing, seconds)

    def _say_away(self, away: StoreAway) -> None:
        if not self._is_away:
            self._is_away = True
            self._say(f"{away.observation}; results wait in {self._entries.folder} and follow when it is back")

    def _say_back(self) -> None:
        if self._is_away:
            self._is_away = False
            self._say(f"{self._store.uri} is back; results follow")

    def _count_not_removed(self, refused: NotRemoved) -> None:
        self._num_not_removed += 1
        if self._num_not_removed == 1:
            self._say(f"{refused}; it stays, and results go on to arrive")

    def _stop(self, error: UserError) -> bool:
        self._say(f"results cannot be stored and wait in {self._entries.folder}: {error}")
        with self._changed:
            self._error, self._sending = error, None
            self._changed.notify_all()
        return False

    def _end(self, superseded: Superseded) -> bool:
        with self._changed:
            self._error, self._sending = superseded, None
            self._drop(list(self._waiting))
            self._changed.notify_all()
        return False

    def _what_waits(self) -> str:
        return f"{len(self._waiting)} results ({self._num_bytes() / 2**20:.1f} MiB)"

    def _num_bytes(self) -> int:
        return sum(entry.num_bytes for entry in self._waiting)


def main(arguments: list[str]) -> int:
    """Send what waits in the folder that is the one argument; 0 if all of it has arrived."""
    if len(arguments) != 1:
        print("usage: python -m ray_jobs.storage.spool FOLDER", file=sys.stderr)
        return 2
    try:
        folder = Path(arguments[0])
        uri = Entries.store_of(folder)
        if uri is None:
            raise UserError(folder, "nothing waits here", "give the folder that the run named")
        store = Store(uri)
        store.check()
        spool = Spool(store, folder, print)
        spool.close(timeout_s=None)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
