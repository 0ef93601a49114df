"""Storage: the same promises on a local path and on a real HTTP object store, and one clear line when it fails."""

import http.server
import multiprocessing
import os
import pickle
import socket
import subprocess
import sys
import threading
import uuid

import pytest

from aign.errors import UserError
from aign.storage import s3
from aign.storage.errors import StoreAway
from aign.storage.store import Store

SECRET = "never-shown-5f3a"
WAIT_S = 300  # on a machine that is busy with other things


@pytest.fixture(autouse=True)
def time_enough(monkeypatch):
    """What a check finds out does not depend on how busy this machine is."""
    monkeypatch.setattr(s3, "_CHECK_SECONDS", WAIT_S)


@pytest.fixture(params=["local", "s3"])
def store(request, tmp_path):
    if request.param == "local":
        return Store(tmp_path / "store")
    bucket = request.getfixturevalue("object_store").bucket
    return Store(bucket) / f"test-{uuid.uuid4().hex}"


@pytest.fixture
def answering(monkeypatch):
    """Starts a server that answers every request with one status and S3 error code."""
    servers = []

    def start(status: int, code: str) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PUT(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = f"<Error><Code>{code}</Code><Message>{SECRET}</Message></Error>".encode() if code else b"<html>"
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_HEAD = do_DELETE = do_POST = do_PUT

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        endpoint = f"http://127.0.0.1:{server.server_port}"
        _environment(monkeypatch, endpoint)
        return endpoint

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _environment(monkeypatch, endpoint):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "some-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)


def _one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert SECRET not in text + repr(error.value)
    return text


def test_what_is_written_is_read(store):
    store.write("a/b.txt", b"one")
    store.write("a/b.txt", b"two")
    store.write("empty", b"")
    assert store.read("a/b.txt") == b"two"
    assert store.read("empty") == b""
    assert (store / "a").read("b.txt") == b"two"
    assert (store / "a").name == "a"
    assert (store / "a").uri == store.uri + "/a"


def test_what_is_absent(store, tmp_path):
    with pytest.raises(FileNotFoundError):
        store.read("nothing")
    with pytest.raises(FileNotFoundError):
        store.download("nothing", tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        store.upload(tmp_path / "nothing", "there")
    assert not store.exists("nothing")
    assert not store.exists()
    assert store.names() == []
    assert store.names("nothing") == []
    store.remove("nothing")
    store.remove("nothing/below")


def test_names_are_direct_children_and_never_stale(store):
    assert store.names() == []
    store.write("run/metrics/0.jsonl", b"")
    store.write("run/config.json", b"{}")
    assert store.names("run") == ["config.json", "metrics"]
    assert store.names("run/config.json") == []
    other = Store(store.uri)
    other.write("run/export/x", b"")
    other.remove("run/metrics")
    assert store.names("run") == ["config.json", "export"]
    assert store.exists("run/export")
    assert not store.exists("run/metrics")


def test_remove_takes_the_folder_and_not_its_neighbours(store):
    for path in ("step_1/a", "step_1/b/c", "step_10/a", "step_1.json"):
        store.write(path, b"x")
    store.remove("step_1")
    assert store.names() == ["step_1.json", "step_10"]
    store.remove("step_1.json")
    assert store.names() == ["step_10"]


def test_a_folder_goes_there_and_back(store, tmp_path):
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "weights").write_bytes(os.urandom(300_000))
    (source / "deep" / "state.json").write_bytes(b"{}")
    for name in ("weights", "deep/state.json"):
        store.upload(source / name, f"ck/{name}")
    store.write("ck2/other", b"")
    store.download("ck", tmp_path / "back")
    found = {p.relative_to(tmp_path / "back").as_posix(): p.read_bytes() for p in (tmp_path / "back").rglob("*.*")}
    assert found == {"deep/state.json": b"{}"}
    assert (tmp_path / "back" / "weights").read_bytes() == (source / "weights").read_bytes()
    assert not (tmp_path / "back" / "other").exists()


def test_a_large_file_goes_in_parts(object_store, tmp_path):
    store = Store(object_store.bucket) / f"test-{uuid.uuid4().hex}"
    large = tmp_path / "large"
    with open(large, "wb") as file:
        file.seek(101 * 2**20)
        file.write(b"end")
    store.upload(large, "ck/large")
    store.download("ck", tmp_path / "back")
    assert (tmp_path / "back" / "large").stat().st_size == large.stat().st_size
    assert (tmp_path / "back" / "large").read_bytes().endswith(b"\0end")
    store.remove("ck")


def test_a_failed_local_write_leaves_the_old_content_and_no_rest(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.write("a", b"old")
    monkeypatch.setattr(os, "fsync", _disk_full)
    with pytest.raises(StoreAway):
        store.write("a", b"new")
    assert store.read("a") == b"old"
    assert os.listdir(tmp_path) == ["a"]


def _disk_full(_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("path", ["/abs", "../up", "a/../b", "a//b", "./a"])
def test_a_path_cannot_leave_the_store(store, path):
    with pytest.raises(ValueError, match="not a path inside"):
        store.write(path, b"")
    with pytest.raises(ValueError, match="not a path inside"):
        store / path


def test_a_store_cannot_be_removed_as_a_whole(store):
    with pytest.raises(ValueError, match="whole store"):
        store.remove("")


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "not a storage address"),
        ("s3://", "not a valid bucket name"),
        ("s3://b!/x", "not a valid bucket name"),
        ("gs://bucket/x", "gs:// is not supported"),
        ("s3://bucket/a/../b", "prefix"),
        (f"s3://key:{SECRET}@bucket/x", "must not hold credentials"),
    ],
)
def test_a_wrong_address_is_refused_at_once(uri, reason):
    with pytest.raises(UserError) as error:
        Store(uri)
    assert reason in _one_line(error)


def test_addresses_have_one_form(tmp_path, monkeypatch):
    assert Store("s3://bucket/runs/").uri == "s3://bucket/runs"
    assert (Store("s3://bucket") / "run").uri == "s3://bucket/run"
    monkeypatch.chdir(tmp_path)
    assert Store("runs").uri == str(tmp_path / "runs")  # absolute: a worker starts elsewhere


def test_a_store_carries_no_secret_to_a_worker(object_store):
    store = Store(object_store.bucket) / "x"
    store.exists("a")
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    assert pickle.loads(pickle.dumps(store)) == store
    assert secret.encode() not in pickle.dumps(store)
    assert secret not in repr(store) + repr(vars(store))


def test_threads_and_forked_processes(store):
    store.write("parent", b"1")  # connected before the fork
    threads = [threading.Thread(target=store.write, args=(f"t{i}", b"x")) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    child = multiprocessing.get_context("fork").Process(target=_copy, args=(store, "parent", "child"))
    child.start()
    child.join(WAIT_S)
    assert child.exitcode == 0
    assert store.read("child") == b"1"
    assert len(store.names()) == 10


def _copy(store, source, target):
    store.write(target, store.read(source))


def test_a_local_path_needs_no_s3_library(tmp_path):
    code = (
        "import sys; from aign.storage.store import Store; s = Store(sys.argv[1]); s.check(); s.write('a', b'');"
        "assert not {'s3fs', 'fsspec', 'botocore', 'boto3'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=WAIT_S)


def test_check_proves_and_leaves_nothing(store):
    store.check()
    assert not store.exists()
    store.write("a", b"")
    store.check()
    assert store.names() == ["a"]


def test_check_of_a_local_path_that_does_not_exist_creates_nothing(tmp_path):
    Store(tmp_path / "a" / "b").check()
    assert os.listdir(tmp_path) == []


def test_check_local_path_under_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError) as error:
        Store(tmp_path / "file" / "runs").check()
    assert _one_line(error).startswith(f"{tmp_path}/file/runs: a part of this path is a file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_check_local_path_not_writable(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(UserError, match="cannot be read or written"):
        Store(tmp_path / "runs").check()


def test_check_missing_bucket(object_store):
    with pytest.raises(UserError) as error:
        Store("s3://aign-no-such-bucket/runs").check()
    assert _one_line(error).startswith("s3://aign-no-such-bucket/runs: the bucket does not exist; create it")


@pytest.mark.parametrize("operation", ["read", "exists", "names", "remove"])
def test_a_missing_bucket_is_not_mistaken_for_a_missing_file(object_store, operation):
    with pytest.raises(UserError, match="the bucket does not exist"):
        getattr(Store("s3://aign-no-such-bucket/runs"), operation)("x")


@pytest.fixture
def no_credentials(monkeypatch, tmp_path):
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


@pytest.fixture
def silent():
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_check_no_credentials(object_store, no_credentials, silent, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", object_store.endpoint)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", silent)  # a machine in no cloud, where packets get lost
    with pytest.raises(UserError) as error:
        Store(object_store.bucket).check()
    assert "s3://aign-test: no credentials found; set AWS_ACCESS_KEY_ID" in _one_line(error)


def test_check_half_a_key_and_a_missing_profile(object_store, no_credentials, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "only-this")
    with pytest.raises(UserError, match="credentials are incomplete"):
        Store(object_store.bucket).check()
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with pytest.raises(UserError, match="profile that AWS_PROFILE names does not exist"):
        Store(object_store.bucket).check()


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "ExpiredToken"])
def test_check_refused_credentials(answering, code):
    answering(403, code)
    with pytest.raises(UserError) as error:
        Store("s3://bucket/runs").check()
    assert _one_line(error).startswith("s3://bucket/runs: the credentials are refused")


def test_check_unreachable(monkeypatch, unused_endpoint):
    _environment(monkeypatch, unused_endpoint)
    with pytest.raises(UserError) as error:
        Store("s3://bucket/runs").check()
    text = _one_line(error)
    assert text.startswith(
        f"s3://bucket/runs: the store at {unused_endpoint} cannot be reached; check AWS_ENDPOINT_URL"
    )


def test_check_a_server_that_never_answers(monkeypatch, silent):
    _environment(monkeypatch, silent)
    monkeypatch.setattr(s3, "_CHECK_SECONDS", 0.5)
    with pytest.raises(UserError) as error:
        Store("s3://bucket/runs").check()
    assert error.value.value == "s3://bucket/runs"


def test_check_something_that_is_no_object_store(answering):
    endpoint = answering(404, "")
    with pytest.raises(UserError) as error:
        Store("s3://bucket/runs").check()
    assert "s3://bucket/runs" in _one_line(error)
    assert endpoint


def test_check_an_endpoint_that_is_none(monkeypatch):
    _environment(monkeypatch, "nonsense")
    with pytest.raises(UserError, match="nonsense is not a valid endpoint"):
        Store("s3://bucket/runs").check()


def test_the_endpoint_is_shown_without_its_password(monkeypatch, unused_endpoint):
    _environment(monkeypatch, unused_endpoint.replace("//", f"//user:{SECRET}@"))
    with pytest.raises(UserError) as error:
        Store("s3://bucket/runs").check()
    assert unused_endpoint in _one_line(error)


@pytest.fixture
def unused_endpoint():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (502, ""), (429, "Throttling")]
)
def test_trouble_that_passes_is_store_away(answering, status, code):
    answering(status, code)
    with pytest.raises(StoreAway) as error:
        Store("s3://bucket/runs").write("a", b"x")
    assert "asks for a pause" in _one_line(error)


def test_an_outage_is_store_away_for_every_operation(line, tmp_path):
    store = Store("s3://aign-test") / f"test-{uuid.uuid4().hex}"
    store.write("a", b"x")
    line.cut()
    (tmp_path / "f").write_bytes(b"")
    for operation in (
        lambda: store.write("a", b"y"),
        lambda: store.read("a"),
        lambda: store.exists("a"),
        lambda: store.names(),
        lambda: store.upload(tmp_path / "f", "f"),
        lambda: store.download("a", tmp_path),
        lambda: store.remove("a"),
    ):
        with pytest.raises(StoreAway):
            operation()
    line.restore()
    assert store.read("a") == b"x"
