"""Where results wait on this machine while a store is away: a folder for each user and store.

It lies in the folder that ``AIGN_SPOOL`` names, else in the user's state folder, where each machine has its own: many
machines may share a home, and none of them may take what another is sending.
"""

import hashlib
import os
import shutil
import socket
from pathlib import Path

import psutil
from platformdirs import user_state_path

from aign.errors import UserError
from aign.options import absolute
from aign.storage.errors import store_endpoint
from aign.storage.store import Store
from ray_jobs.storage.spool_entries import Entries

VARIABLE = "AIGN_SPOOL"
MOST_BYTES = 20 << 30
LITTLE_BYTES = 1 << 30
_OTHER_FOLDER = f"set {VARIABLE} to a folder of your own on a disk with room"
_IN_MEMORY = {"tmpfs", "ramfs"}


def spool_folder() -> Path:
    """In which the folders for all stores lie."""
    named = os.environ.get(VARIABLE)
    return Path(absolute(named)) if named else user_state_path("aign") / "spool" / socket.gethostname()


def waiting_room(store: Store) -> Path:
    """The folder for a store, which need not be there. Stores of one name at two endpoints have one each."""
    endpoint = store_endpoint() if store.uri.startswith("s3://") else ""
    whose = f"{os.geteuid()} {endpoint} {store.uri}"
    return spool_folder() / hashlib.sha256(whose.encode()).hexdigest()[:16]


def waits_here(store: Store) -> bool:
    """Whether anything for a store waits on this machine."""
    return Entries.store_of(waiting_room(store)) is not None


def made(folder: Path) -> Path:
    """A folder, made if it is not there. Raises UserError if results cannot wait in it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise UserError(folder, f"results cannot wait there ({reason})", _OTHER_FOLDER) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(folder, "results cannot wait there (it may not be written)", _OTHER_FOLDER)
    return folder


def prepared_room(store: Store) -> Path:
    """The folder for a store, made if it is not there. Raises UserError if results cannot wait in it."""
    room = made(waiting_room(store))
    if room.stat().st_uid != os.geteuid() != 0:
        raise UserError(room, "results cannot wait there (it belongs to another user)", _OTHER_FOLDER)
    return room


def most_bytes(room: Path) -> int:
    """How much may wait in a room that is there, beside what does already: at most half of the disk's free space."""
    return min(MOST_BYTES, shutil.disk_usage(room).free // 2)


def about_disk(room: Path) -> list[str]:
    """What a person should know of the disk under a room that is there."""
    known = []
    if (room_left := most_bytes(room)) < LITTLE_BYTES:
        known.append(f"{room}: only {room_left / 2**20:.0f} MiB may wait here while the store is away; {_OTHER_FOLDER}")
    if _in_memory(room):
        known.append(f"{room}: what waits here is in memory, and lost when the machine restarts; {_OTHER_FOLDER}")
    return known


def _in_memory(room: Path) -> bool:
    kinds = {disk.mountpoint: disk.fstype for disk in psutil.disk_partitions(all=True)}
    mount = next(str(place) for place in [room, *room.parents] if os.path.ismount(place))
    return kinds.get(mount) in _IN_MEMORY
