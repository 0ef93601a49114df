"""An S3 server in another process, and a line to it that can be cut."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

KEYS = {
    "AWS_ACCESS_KEY_ID": "test-key",
    "AWS_SECRET_ACCESS_KEY": "test-secret-8bd1f0",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}
"""The environment of a client; the server asks for no particular keys."""


def files_with(secret: str, folder: Path) -> set[str]:
    """Names of the files under a folder that hold a secret."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {path.name for path in files if secret.encode() in path.read_bytes()}


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """The endpoint of an S3 server that keeps everything in memory, until the end of the block."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for_port(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def free_port() -> int:
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


class Line:
    """A TCP proxy to a server that can be cut, as an outage cuts it, and restored."""

    def __init__(self, target_port: int, target_host: str = "127.0.0.1", host: str = "127.0.0.1") -> None:
        """``host`` is the address of this machine that clients see."""
        self.target = (target_host, target_port)
        self._near = (host, free_port())
        self._pairs: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.restore()

    @property
    def endpoint(self) -> str:
        host, port = self._near
        return f"http://{host}:{port}"

    def restore(self) -> None:
        """Accept connections (again)."""
        self._listener = socket.create_server(self._near)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Break all connections and refuse new ones."""
        if self._listener:
            shut(self._listener)
            self._listener = None
        while self._pairs:
            shut(self._pairs.pop())

    def carry(self, near: socket.socket, far: socket.socket) -> None:
        """Carry what the client at ``near`` sends to the server at ``far``, until one of them ends."""
        pump(near, far)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(self.target)
            except OSError:
                return
            self._pairs += [near, far]
            threading.Thread(target=self.carry, args=(near, far), daemon=True).start()
            threading.Thread(target=pump, args=(far, near), daemon=True).start()
            if self._listener is not listener:  # cut while this one was being accepted
                shut(near)
                shut(far)


def shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)  # close alone would not wake the thread that waits on it
    end.close()


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Carry bytes one way until an end is closed; then close both."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    shut(source)
    shut(sink)
