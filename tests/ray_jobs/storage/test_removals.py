"""A store that refuses removals: nothing else stops for it, and a person is told."""

import json
import uuid

import pytest

from aign.storage.errors import NotRemoved
from aign.storage.store import Store
from ray_jobs import train
from ray_jobs.cli.options import parse
from ray_jobs.cli.preflight import check
from ray_jobs.runs.checkpoints import checkpoint_steps
from ray_jobs.storage.attempts import Attempt
from ray_jobs.storage.spool import Spool
from tests.faults.proxy import Proxy, Refuse, is_removal, lacks_md5, refuse

WAIT_S = 300
EVERY_REMOVAL = refuse(is_removal, Refuse(403, "AccessDenied"))
REMOVALS_OF_SEVERAL = refuse(lacks_md5, Refuse(400, "MissingContentMD5"))


@pytest.fixture
def proxy(object_store, monkeypatch):
    proxy = Proxy(int(object_store.endpoint.rpartition(":")[2]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    yield proxy
    proxy.cut()


@pytest.fixture
def store(proxy):
    return Store("s3://aign-test") / f"test-{uuid.uuid4().hex}"


def put(spool, folder, path, **files):
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    spool.put_folder(folder, path, last="state")


def test_a_store_that_removes_only_one_object_at_a_time(proxy, store):
    proxy.rule = REMOVALS_OF_SEVERAL
    for i in range(40):
        store.write(f"step_1/{i}", b"")
    store.write("step_10", b"")
    store.remove("step_1")
    assert store.names() == ["step_10"]
    assert store.check() is None


@pytest.mark.parametrize("answer", [(403, "AccessDenied"), (405, "MethodNotAllowed"), (501, "NotImplemented")])
def test_a_refused_removal_is_told_from_other_trouble(proxy, store, answer):
    store.write("a", b"x")
    proxy.rule = refuse(is_removal, Refuse(*answer))
    with pytest.raises(NotRemoved) as refused:
        store.remove("a")
    assert refused.value.value == f"{store.uri}/a"
    assert store.read("a") == b"x"


def test_what_arrives_is_not_held_up(proxy, store, tmp_path):
    said = []
    spool = Spool(store, tmp_path / "spool", said.append)
    put(spool, tmp_path / "1", "checkpoints/1", state="1", weights="1")
    assert spool.flush(WAIT_S)
    proxy.rule = EVERY_REMOVAL
    spool.remove("checkpoints/1")
    spool.put("metrics", b"m")
    put(spool, tmp_path / "2", "checkpoints/1", state="2", weights="2")  # in place of what cannot be removed
    spool.close(WAIT_S)
    assert (store.read("metrics"), spool.num_waiting, spool.error) == (b"m", 0, None)
    assert [store.read(f"checkpoints/1/{name}") for name in ("state", "weights")] == [b"2", b"2"]
    assert len(said) == 2
    assert f"{store.uri}/checkpoints/1" in said[0]  # the first
    assert " 2 " in said[1]  # how many


def test_the_check_of_a_store_says_that_nothing_can_be_removed(proxy, store, tiny_argv):
    job = parse(["pose", *tiny_argv, "--storage", store.uri, "--name", "run", "--workers", "0"]).job
    known = []
    check(job, known.append)
    expected = len(known)
    proxy.rule = EVERY_REMOVAL
    check(job, known.append)
    assert len(known) == 2 * expected + 1
    assert any(str(line).startswith(f"{store.uri}/run: nothing can be removed") for line in known[expected:])


def test_a_run_ends_well_and_keeps_what_cannot_go(proxy, store, tiny_argv):
    proxy.rule = EVERY_REMOVAL
    train.command(["pose", *tiny_argv, "--storage", store.uri, "--name", "run", "--workers", "0"])
    run = store / "run"
    assert sorted(checkpoint_steps(run)) == [4, 8, 12]
    assert json.loads(run.read("attempts/001.json"))["status"] == "finished"


def test_a_claim_that_cannot_be_withdrawn_binds_nobody(proxy, store):
    proxy.rule = EVERY_REMOVAL

    def differ(earlier):
        if earlier:
            raise ValueError("other options")

    with pytest.raises(ZeroDivisionError):
        Attempt.take(store, {"seed": 1}, lambda earlier: 1 / 0, {})
    assert Attempt.take(store, {"seed": 0}, differ, {}).number == 2
