"""What is made once: fetched by other machines, whole or not at all, and errors that a person can mend."""

import errno
import json
import os
import threading
from pathlib import Path

import boto3
import pytest
import requests

from aign.data.cache import MANIFEST, CacheError, made_once
from aign.errors import UserError
from aign.storage.filesystem import open_filesystem
from tests.object_store import KEYS, serve

LARGE = bytes(range(256)) * 1000


class Made:
    """Two files, and how often they were made."""

    def __init__(self, content=LARGE):
        self.content, self.times = content, 0

    def __call__(self, folder):
        self.times += 1
        (folder / "pixels.bin").write_bytes(self.content)
        (folder / "rows.npy").write_bytes(b"rows")


@pytest.fixture(params=["file", "s3"])
def store(request, tmp_path, monkeypatch):
    """The address of a cache that machines share."""
    if request.param == "file":
        address = f"file://{tmp_path}/store"
    else:
        address = f"{request.getfixturevalue('object_store').bucket}/{tmp_path.name}"
    monkeypatch.setenv("AIGN_CACHE", address)
    return address


@pytest.fixture
def stored(store):
    """Says the names of all that is in the store."""
    system, root = open_filesystem(store)
    return lambda: {path.removeprefix(f"{root}/") for path in system.find(root)}


@pytest.fixture
def kept(store, machine):
    """Files of the name ``a`` in the store, as one machine has put them there: its file system and their paths."""
    machine("head")
    made_once("a", Made())
    system, root = open_filesystem(store)
    paths = {system.size(path): path for path in system.find(f"{root}/a")}
    return system, {"pixels": paths[len(LARGE)], "manifest": f"{root}/a/{MANIFEST}"}


def check(folder, content=LARGE):
    """What ``Made`` makes is there, whole."""
    assert (folder / "pixels.bin").read_bytes() == content
    assert (folder / "rows.npy").read_bytes() == b"rows"


def check_made_again(machine):
    """The next machine makes it, and the one after that fetches what it has made."""
    make = Made()
    for name in ("worker", "another"):
        machine(name)
        check(made_once("a", make))
    assert make.times == 1


def test_one_machine_makes_it_and_others_fetch_it(stored, machine):
    make = Made()
    own = machine("head")
    first = made_once("images_1", make)
    check(first)
    assert own in first.parents
    for name in ("worker", "worker"):  # the second time it is there
        assert machine(name) in made_once("images_1", make).parents
        check(made_once("images_1", make))
    assert make.times == 1
    assert len(stored()) == 4
    assert {"README.txt", f"images_1/{MANIFEST}"} < stored()
    assert not list(Path(first.parent).glob("*.partial"))


@pytest.mark.parametrize("lost", ["pixels", "manifest"])
def test_half_an_upload_is_not_there(kept, machine, lost):
    system, paths = kept
    system.rm_file(paths[lost])
    check_made_again(machine)


@pytest.mark.parametrize("store", ["file"], indirect=True)
@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("pixels", LARGE[:-1] + b"\0"),
        ("pixels", b""),
        ("manifest", b"{"),
        ("manifest", b"[]"),
        ("manifest", b'{"a": 1}'),
        ("manifest", b'{"a": "../../a"}'),
        ("manifest", b'{"../../a": "%s"}' % (b"0" * 64)),
    ],
)
def test_what_is_damaged_is_made_again(kept, machine, file, content):
    system, paths = kept
    system.pipe_file(paths[file], content)
    check_made_again(machine)


def test_two_machines_may_make_it_at_once(store, machine):
    """In the middle of what one makes another makes all of it, a little different."""

    def slowly(folder):
        machine("second")
        check(made_once("a", Made(b"second")), b"second")
        Made(b"first")(folder)

    machine("first")
    check(made_once("a", slowly), b"first")
    machine("third")
    check(made_once("a", Made(b"third")), b"first")


def test_workers_of_one_machine_wait_for_the_first(store, machine):
    machine("one")
    make = Made()
    workers = [threading.Thread(target=made_once, args=("a", make)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert make.times == 1


def test_a_mistake_in_what_is_made_leaves_nothing(stored, machine):
    machine("head")

    def fail(folder):
        Made()(folder)
        raise UserError("faces", "are none", "choose others")

    with pytest.raises(UserError, match=r"^faces: are none") as raised:
        made_once("a", fail)
    assert not isinstance(raised.value, CacheError)
    assert stored() == {"README.txt"}
    check(made_once("a", Made()))


def test_a_store_that_goes_away_costs_no_second_making(line, machine, monkeypatch, tmp_path):
    monkeypatch.setenv("AIGN_CACHE", f"s3://aign-test/{tmp_path.name}")
    machine("head")
    make = Made()

    def cut(folder):
        make(folder)
        line.cut()

    with pytest.raises(
        CacheError, match=r"what is made cannot be kept there: the store at .* cannot be reached; check"
    ):
        made_once("a", cut)
    with pytest.raises(CacheError, match=f"^s3://aign-test/{tmp_path.name}: what is made cannot be kept there"):
        made_once("a", make)
    line.restore()
    made_once("a", make)
    machine("worker")
    check(made_once("a", make))
    assert make.times == 1
    line.cut()
    check(made_once("a", make))  # what this machine has it need not ask for


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (
            "s3://aign-missing/cache",
            "the bucket does not exist; create it, or check",
        ),
        ("s3://aign-test/cache", "what was made cannot be fetched: the store at http.* cannot be reached; check AWS"),
        ("nonsense://a/b", "nonsense:// is not supported; give a local path or s3://bucket/prefix"),
    ],
)
def test_a_cache_that_cannot_be_used_is_told_before_anything_is_made(line, machine, monkeypatch, address, reason):
    monkeypatch.setenv("AIGN_CACHE", address)
    machine("head")
    if address.startswith("s3://aign-test"):
        line.cut()
    with pytest.raises(CacheError, match=f"^{address}: .*{reason}") as raised:
        made_once("a", lambda _: pytest.fail("made in vain"))
    assert "\n" not in str(raised.value)


@pytest.fixture
def reader(monkeypatch):
    """A store with the bucket ``faces``, that this process may read and not write, and its ``boto3`` client."""
    policy = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
    with serve() as endpoint:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="faces")
        iam = boto3.client("iam")
        iam.create_user(UserName="reader")
        document = json.dumps({"Version": "2012-10-17", "Statement": [policy]})
        iam.put_user_policy(UserName="reader", PolicyName="reads", PolicyDocument=document)
        key = iam.create_access_key(UserName="reader")["AccessKey"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        requests.post(f"{endpoint}/moto-api/reset-auth", data=b"0").raise_for_status()  # from now on it asks for rights
        yield


def test_a_cache_that_can_only_be_read_is_told_before_anything_is_made(reader, machine, monkeypatch):
    monkeypatch.setenv("AIGN_CACHE", "s3://faces/cache")
    machine("head")
    reason = "what is made cannot be kept there: the credentials are refused for this place; allow them to put"
    with pytest.raises(CacheError, match=f"^s3://faces/cache: {reason}"):
        made_once("a", lambda _: pytest.fail("made in vain"))


def test_a_machine_without_room_is_told(machine, monkeypatch, tmp_path):
    monkeypatch.setenv("AIGN_CACHE", f"file://{tmp_path}/store")
    machine("head").parent.touch()
    with pytest.raises(CacheError, match=r"cannot hold what is made once .*; make room there"):
        made_once("a", Made())


@pytest.mark.parametrize("store", ["file"], indirect=True)
def test_a_disk_that_is_full_while_it_fetches_is_named(kept, machine, monkeypatch):
    own = machine("worker")

    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)

    monkeypatch.setattr("aign.storage.local.shutil.copyfile", full)
    with pytest.raises(CacheError) as raised:
        made_once("a", lambda _: pytest.fail("made in vain"))
    assert own in raised.value.value.parents or own == raised.value.value
    assert not list(raised.value.value.glob("*.partial"))
