"""Where results wait: a folder for each user and store, on a disk that is looked at."""

import os
import shutil
import socket
from types import SimpleNamespace

import psutil
import pytest

from aign.errors import UserError
from aign.storage.store import Store
from ray_jobs import train
from ray_jobs.storage.spool import Spool
from ray_jobs.storage.waiting_room import MOST_BYTES, most_bytes, prepared_room, waiting_room, waits_here

WAIT_S = 300


@pytest.fixture
def spool_folder(tmp_path, monkeypatch):
    folder = tmp_path / "spool"
    monkeypatch.setenv("AIGN_SPOOL", str(folder))
    return folder


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def put_one(store) -> list[str]:
    said: list[str] = []
    spool = Spool.on_this_machine(store, said.append)
    spool.put("a", b"x")
    spool.close(WAIT_S)
    assert store.read("a") == b"x"
    return said


def test_the_variable_names_the_folder(spool_folder, store):
    assert waiting_room(store).parent == spool_folder
    assert not waits_here(store)
    assert not spool_folder.exists()
    put_one(store)
    assert waiting_room(store).stat().st_mode & 0o777 == 0o700


def test_without_it_the_user_has_one(store, tmp_path, monkeypatch):
    monkeypatch.delenv("AIGN_SPOOL")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    here = waiting_room(store)
    assert here.is_relative_to(tmp_path / "state")
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    assert waiting_room(store) != here  # a home may be shared by machines


def test_stores_endpoints_and_users_have_one_each(spool_folder, monkeypatch):
    rooms = set()
    for endpoint in ("http://one:9000", "http://two:9000"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        rooms |= {waiting_room(Store("s3://bucket/run")), waiting_room(Store("s3://bucket/other"))}
        monkeypatch.setattr(os, "geteuid", lambda endpoint=endpoint: hash(endpoint))
        rooms.add(waiting_room(Store("s3://bucket/run")))
        monkeypatch.undo()
        monkeypatch.setenv("AIGN_SPOOL", str(spool_folder))
    assert len(rooms) == 6


def test_a_local_path_is_the_same_at_every_endpoint(spool_folder, store, monkeypatch):
    room = waiting_room(store)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://one:9000")
    assert waiting_room(store) == room


def test_a_folder_that_cannot_be_made_is_refused_before_the_run(spool_folder, refused, tmp_path, tiny_argv):
    spool_folder.write_text("a file")
    said = refused(train.command, "pose", *tiny_argv, "--storage", tmp_path / "runs", "--workers", "0")
    assert str(spool_folder) in said
    assert "AIGN_SPOOL" in said
    assert not (tmp_path / "runs").exists()


def test_a_folder_of_somebody_else_is_refused(spool_folder, store, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    waiting_room(store).mkdir(parents=True)
    with pytest.raises(UserError) as error:
        prepared_room(store)
    assert error.value.value == waiting_room(store)


def test_half_of_what_is_free_may_wait(spool_folder, store, monkeypatch):
    room = prepared_room(store)
    for free, most in ((100, 50), (1 << 50, MOST_BYTES)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        assert most_bytes(room) == most


@pytest.fixture
def disk(monkeypatch):
    """Lets the disk under all folders be of a kind."""

    def disk(kind, free):
        monkeypatch.setattr(os.path, "ismount", lambda place: str(place) == "/")
        monkeypatch.setattr(psutil, "disk_partitions", lambda all: [SimpleNamespace(mountpoint="/", fstype=kind)])
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))

    return disk


@pytest.mark.parametrize(
    ("kind", "free", "words"), [("ext4", 1 << 40, []), ("tmpfs", 1 << 40, ["memory"]), ("ext4", 1 << 20, ["0 MiB"])]
)
def test_what_is_said_of_the_disk(kind, free, words, spool_folder, store, disk):
    disk(kind, free)
    said = put_one(store)
    assert len(said) == len(words)
    assert all(word in line and "AIGN_SPOOL" in line for word, line in zip(words, said, strict=True))


def test_nothing_stays_of_what_was_to_be_put(spool_folder, store):
    spool = Spool.on_this_machine(store, print)

    def fail():
        with spool.scratch() as scratch:
            (scratch / "weights").write_bytes(b"half")
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        fail()
    assert os.listdir(waiting_room(store)) == []
    spool.close(WAIT_S)
