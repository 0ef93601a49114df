"""The spool: what is put arrives in order, through outages and kills, and a folder's last file after all others."""

import json
import os
import signal
import subprocess
import sys
import threading
import uuid

import pytest

from aign.errors import UserError
from aign.storage.errors import StoreAway
from aign.storage.store import Store
from ray_jobs.storage.spool import Spool, main

WAIT_S = 300  # an upper bound that keeps a broken spool from hanging the tests
AWAY = StoreAway("s3://bucket", "no answer", "wait")


class Recording:
    """A store that notes what is done to it, and raises what it is told to."""

    uri = "recording"

    def __init__(self, *troubles: Exception, held: bool = False) -> None:
        self.done: list[str] = []
        self.troubles = list(troubles)
        self.go = threading.Event()
        if not held:
            self.go.set()

    def upload(self, local_file, path):
        self._do(f"put {path}={local_file.read_bytes().decode()}")

    def remove(self, path):
        self._do(f"remove {path}")

    def _do(self, what):
        self.go.wait(WAIT_S)
        if self.troubles and self.troubles[0] is not None:
            raise self.troubles.pop(0)
        del self.troubles[:1]
        self.done.append(what)


@pytest.fixture
def said():
    return []


def _folder(path, **files):
    path.mkdir(parents=True)
    for name, text in files.items():
        (path / name).write_text(text)
    return path


def test_it_tells_of_what_has_arrived(tmp_path, said):
    arrived = []
    store = Recording(AWAY)
    spool = Spool(store, tmp_path / "spool", said.append, lambda path: arrived.append((path, len(store.done))))
    spool.put("metrics/0", b"m0")
    spool.put_folder(_folder(tmp_path / "c", a="1", state="2"), "checkpoints/4", last="state")
    spool.remove("checkpoints/0")
    spool.close(WAIT_S)
    assert arrived == [("metrics/0", 1), ("checkpoints/4", 4)]  # of a folder, when its last file is there


def test_all_arrives_in_order_and_nothing_stays_on_disk(tmp_path, said):
    store = Recording()
    spool = Spool(store, tmp_path / "spool", said.append)
    spool.put("metrics/0", b"m0")
    spool.put_folder(_folder(tmp_path / "ck", a="1", state="2", z="3"), "checkpoints/step_1", last="state")
    spool.put("metrics/1", b"m1")
    assert spool.flush(WAIT_S)
    spool.remove("checkpoints/step_1")
    spool.close(WAIT_S)
    assert store.done == [
        "put metrics/0=m0",
        "remove checkpoints/step_1",  # nothing older may mix with it
        *("put checkpoints/step_1/a=1", "put checkpoints/step_1/z=3", "put checkpoints/step_1/state=2"),
        "put metrics/1=m1",
        "remove checkpoints/step_1",
    ]
    assert not (tmp_path / "ck").exists()
    assert os.listdir(tmp_path / "spool") == []
    assert said == []


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_it_arrives_in_a_real_store(kind, tmp_path, said, request):
    if kind == "s3":
        store = Store(request.getfixturevalue("object_store").bucket) / f"test-{uuid.uuid4().hex}"
    else:
        store = Store(tmp_path / "store")
    spool = Spool(store, tmp_path / "spool", said.append)
    spool.put("config.json", b"{}")
    folder = _folder(tmp_path / "ck", weights="w", state="s")
    (folder / "deep").mkdir()
    (folder / "deep" / "x").write_text("x")
    spool.put_folder(folder, "checkpoints/step_1", last="state")
    spool.put("old", b"")
    spool.remove("old")
    spool.close(WAIT_S)
    assert store.names() == ["checkpoints", "config.json"]
    assert store.names("checkpoints/step_1") == ["deep", "state", "weights"]
    assert store.read("checkpoints/step_1/deep/x") == b"x"
    assert said == []


def test_a_folder_without_its_last_file_is_refused(tmp_path, said):
    spool = Spool(Recording(), tmp_path / "spool", said.append)
    folder = _folder(tmp_path / "ck", a="1")
    with pytest.raises(FileNotFoundError, match="state"):
        spool.put_folder(folder, "checkpoints/step_1", last="state")
    spool.close(WAIT_S)
    assert (folder / "a").exists()


def test_an_outage_says_one_line_each_way_and_loses_nothing(line, tmp_path, said):
    store = Store("s3://aign-test") / f"test-{uuid.uuid4().hex}"
    spool = Spool(store, tmp_path / "spool", said.append)
    spool.put("metrics/0", b"before")
    assert spool.flush(WAIT_S)
    line.cut()
    for i in range(1, 6):
        spool.put(f"metrics/{i}", b"during")
    spool.put_folder(_folder(tmp_path / "ck", a="1", state="2"), "checkpoints/step_1", last="state")
    assert not spool.flush(5)
    assert spool.num_waiting == 6
    assert len(said) == 1
    assert "cannot be reached" in said[0]
    assert str(tmp_path / "spool") in said[0]
    line.restore()
    assert spool.flush(WAIT_S)
    spool.close(WAIT_S)
    assert said[1:] == [f"{store.uri} is back; results follow"]
    assert store.names("metrics") == list("012345")
    assert store.names("checkpoints/step_1") == ["a", "state"]


def test_an_outage_inside_a_folder_goes_on_where_it_was(tmp_path, said):
    store = Recording(None, None, AWAY, AWAY)
    spool = Spool(store, tmp_path / "spool", said.append)
    spool.put_folder(_folder(tmp_path / "ck", a="1", b="2", state="3"), "ck", last="state")
    spool.close(WAIT_S)
    assert store.done == ["remove ck", "put ck/a=1", "put ck/b=2", "put ck/state=3"]
    assert len(said) == 2


def test_flush_and_close_time_out_and_say_where_it_waits(tmp_path, said):
    store = Recording(held=True)
    spool = Spool(store, tmp_path / "spool", said.append)
    spool.put("a", b"1")
    assert not spool.flush(0.01)
    spool.close(0.01)
    spool.close(0.01)
    store.go.set()
    assert len(said) == 1
    assert f"1 results (0.0 MiB) wait in {tmp_path}/spool" in said[0]
    assert f"python -m ray_jobs.storage.spool {tmp_path}/spool" in said[0]


def test_a_permanent_error_is_said_once_kept_and_raised_at_close(tmp_path, said):
    spool = Spool(Recording(UserError("s3://b", "the bucket does not exist", "create it")), tmp_path, said.append)
    spool.put("a", b"1")
    assert not spool.flush(WAIT_S)  # at once: waiting would not mend it
    spool.put("b", b"2")
    assert len(said) == 1
    assert "the bucket does not exist" in said[0]
    with pytest.raises(UserError, match="the bucket does not exist"):
        spool.close(WAIT_S)
    store = Recording()
    Spool(store, tmp_path, said.append).close(WAIT_S)
    assert store.done == ["put a=1", "put b=2"]


def test_an_unforeseen_error_is_not_silent(tmp_path, said):
    spool = Spool(Recording(RuntimeError("bug")), tmp_path, said.append)
    spool.put("a", b"1")
    with pytest.raises(UserError, match="RuntimeError: bug"):
        spool.close(WAIT_S)


KILLED = """
import os, signal, sys, threading
from pathlib import Path
from ray_jobs.storage.spool import Spool
from aign.storage.errors import StoreAway
from aign.storage.store import Store
Store.upload = Store.remove = lambda *_: (_ for _ in ()).throw(StoreAway("s3://bucket", "no answer", "wait"))
folder, uri = Path(sys.argv[1]), sys.argv[2]
spool = Spool(Store(uri), folder / "spool", lambda _: None)
for i in range(3):
    spool.put(f"metrics/{i}", str(i).encode())
(folder / "ck").mkdir()
(folder / "ck" / "state").write_text("s")
spool.put_folder(folder / "ck", "checkpoints/step_1", last="state")
spool.put("metrics/0", b"newer")
os.kill(os.getpid(), signal.SIGKILL)
"""


def _leave_entries(tmp_path) -> Store:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(tmp_path / "store")], timeout=WAIT_S)
    assert killed.returncode == -signal.SIGKILL
    return Store(tmp_path / "store")


def test_what_a_killed_process_left_is_sent_first(tmp_path, said):
    store = _leave_entries(tmp_path)
    assert not store.exists()
    spool = Spool(store, tmp_path / "spool", said.append)
    spool.put("metrics/1", b"newest")
    spool.close(WAIT_S)
    assert [store.read(f"metrics/{i}") for i in range(3)] == [b"newer", b"newest", b"2"]
    assert store.read("checkpoints/step_1/state") == b"s"
    assert len(said) == 1
    assert said[0].startswith("sending 5 results")


def test_the_command_sends_what_waits(tmp_path, capsys):
    store = _leave_entries(tmp_path)
    assert main([str(tmp_path / "spool")]) == 0
    assert store.names("metrics") == ["0", "1", "2"]
    assert main([str(tmp_path / "spool")]) == 2
    assert "nothing waits here" in capsys.readouterr().err


def test_entries_for_another_store_are_not_sent_here(tmp_path, said):
    _leave_entries(tmp_path)
    with pytest.raises(UserError, match="store wait here"):
        Spool(Store(tmp_path / "other"), tmp_path / "spool", said.append)


def test_halves_of_entries_are_swept_away(tmp_path, said):
    _leave_entries(tmp_path)
    spool_folder = tmp_path / "spool"
    first, second = sorted(p for p in spool_folder.iterdir() if p.suffix == ".json")[:2]
    first.with_suffix("").unlink()  # killed between manifest and payload
    second.unlink()  # killed between the removal of manifest and payload
    (spool_folder / "00000099.json.partial").write_bytes(b"{")
    store = Recording()
    for manifest in spool_folder.glob("*.json"):
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"store": store.uri}))
    Spool(store, spool_folder, said.append).close(WAIT_S)
    assert store.done[:1] == ["put metrics/2=2"]
    assert os.listdir(spool_folder) == []


def test_a_removal_spares_the_upload_of_what_it_removes(tmp_path, said):
    store = Recording(held=True)
    spool = Spool(store, tmp_path / "spool", said.append)
    spool.put("first", b"")
    for step in (1, 10):
        spool.put_folder(_folder(tmp_path / f"ck{step}", state="s"), f"checkpoints/step_{step}", last="state")
    spool.remove("checkpoints/step_1")
    store.go.set()
    spool.close(WAIT_S)
    assert store.done == [
        *("put first=", "remove checkpoints/step_10", "put checkpoints/step_10/state=s", "remove checkpoints/step_1")
    ]


def test_above_its_bound_pictures_go_first_then_old_checkpoints_never_metrics(tmp_path, said):
    store = Recording(held=True)
    spool = Spool(store, tmp_path / "spool", said.append, max_bytes=350)
    spool.put("started", b"")
    for step in (1, 2):
        spool.put_folder(_folder(tmp_path / f"ck{step}", state="s" * 100), f"checkpoints/step_{step}", last="state")
    spool.put("pictures/1.png", b"p" * 100)
    spool.put("metrics/0", b"m" * 100)  # 400: the picture goes
    spool.put("metrics/1", b"m" * 100)  # 400 again: the oldest checkpoint goes
    for i in range(2, 9):
        spool.put(f"metrics/{i}", b"m" * 100)
    store.go.set()
    spool.close(WAIT_S)
    assert [d.partition("=")[0] for d in store.done] == [
        *("put started", "remove checkpoints/step_2", "put checkpoints/step_2/state"),
        *[f"put metrics/{i}" for i in range(9)],
    ]
    assert len(said) == 1
    assert "the oldest pictures, then the oldest checkpoints" in said[0]


def test_a_folder_that_cannot_be_written_is_a_user_error(tmp_path, said):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="is a file, not a folder"):
        Spool(Recording(), tmp_path / "file" / "spool", said.append)
