"""What several tests need: a real S3 server, and a way to cut the line to it."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import boto3
import pytest
from jaxtyping import install_import_hook

# Types and shapes in signatures are checked while tests run; an int will do for a float, as PEP 484 has it.
install_import_hook("aign", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


@dataclass(frozen=True)
class ObjectStore:
    """A running S3 server; the environment names it and its keys."""

    endpoint: str
    bucket: str  # s3://...


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for_port(port: int, server: subprocess.Popen) -> None:
    for _ in range(600):
        if server.poll() is not None:
            raise RuntimeError("the S3 server of the tests ended at once")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the S3 server of the tests does not answer")


@pytest.fixture(scope="session")
def object_store():
    """An S3 server in another process with the bucket aign-test; the AWS_ variables point to it until the tests end.

    It keeps everything in memory and asks for no particular keys. Use a prefix of your own, for example from tmp_path.
    """
    port = _free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test-key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret-8bd1f0")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.delenv("AWS_PROFILE", raising=False)
        patch.delenv("AWS_SESSION_TOKEN", raising=False)
        try:
            _wait_for_port(port, server)
            boto3.client("s3").create_bucket(Bucket="aign-test")
            yield ObjectStore(endpoint=f"http://127.0.0.1:{port}", bucket="s3://aign-test")
        finally:
            server.terminate()
            server.wait(10)


class Line:
    """A TCP proxy to a port on this machine that can be cut, as an outage cuts it, and restored."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._port = _free_port()
        self._pairs: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.restore()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def restore(self) -> None:
        """Accept connections (again)."""
        self._listener = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Break all connections and refuse new ones."""
        if self._listener:
            _shut(self._listener)
            self._listener = None
        while self._pairs:
            _shut(self._pairs.pop())

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                return
            self._pairs += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()
            if self._listener is not listener:  # cut while this one was being accepted
                _shut(near)
                _shut(far)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)  # close alone would not wake the thread that waits on it
    end.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    _shut(source)
    _shut(sink)


@pytest.fixture
def line(object_store, monkeypatch):
    """A :class:`Line` to the S3 server; the environment points to it instead of to the server."""
    line = Line(int(object_store.endpoint.rpartition(":")[2]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", line.endpoint)
    yield line
    line.cut()


@pytest.fixture(scope="session")
def ray_local():
    """A Ray on this machine that all tests share."""
    import ray

    from aign.training.run_config import RunConfig
    from ray_jobs.job import Job, Placement
    from ray_jobs.launch import start_ray

    start_ray(Job(run=RunConfig.of("pose"), placement=Placement(workers=2), name="tests"))
    yield
    ray.shutdown()
