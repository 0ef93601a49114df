"""A line to an object store that looks at every request, so that a fault can come at a precise one.

proxy = Proxy(port)
proxy.rule = Trap(r"PUT .*/state\\.json$", Break(first=kill_the_worker))
"""

import contextlib
import random
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from tests.object_store import Line, shut

PIECE = 1 << 16
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Request:
    """The head of a request to the store."""

    method: str
    target: str  # path and query, as sent
    headers: dict[str, str]  # names in lower case
    client_port: int  # tells which process sent it

    def __str__(self) -> str:
        return f"{self.method} {self.target}"


@dataclass(frozen=True)
class Break:
    """Let a share of the body pass, call ``first``, then break the connection without an answer."""

    share: float = 0.0
    first: Callable[[Request], None] = lambda request: None


@dataclass(frozen=True)
class Refuse:
    """Answer as a store that does not take the request, without passing it on."""

    status: int
    code: str

    @property
    def body(self) -> bytes:
        return f"<?xml version='1.0'?><Error><Code>{self.code}</Code><Message>{self.code}</Message></Error>".encode()

    @property
    def head(self) -> bytes:
        lines = (
            f"HTTP/1.1 {self.status} Refused",
            "Content-Type: application/xml",
            f"Content-Length: {len(self.body)}",
        )
        return "\r\n".join([*lines, "", ""]).encode()


SLOW_DOWN = Refuse(503, "SlowDown")
Answer = Break | Refuse | Literal["forward"]
Rule = Callable[[Request], Answer]


class Trap:
    """A rule that springs once, at the first request that ``pattern`` is found in."""

    def __init__(self, pattern: str, answer: Answer) -> None:
        self.sprung = threading.Event()
        self._pattern, self._answer, self._lock = re.compile(pattern), answer, threading.Lock()

    def __call__(self, request: Request) -> Answer:
        with self._lock:
            if self.sprung.is_set() or not self._pattern.search(str(request)):
                return "forward"
            self.sprung.set()
        return self._answer


def throttle(share: float, seed: int = 0) -> Rule:
    """A rule that refuses a share of all requests: half of them are asked to slow down, half lose their connection."""
    dice = random.Random(seed)

    def rule(request: Request) -> Answer:
        number = dice.random()
        if number >= share:
            return "forward"
        return SLOW_DOWN if number < share / 2 else Break(share=0.5)

    return rule


def refuse(which: Callable[[Request], bool], answer: Refuse) -> Rule:
    """A rule that refuses some requests."""
    return lambda request: answer if which(request) else "forward"


def is_removal(request: Request) -> bool:
    return request.method == "DELETE" or (request.method == "POST" and "?delete" in request.target)


def lacks_md5(request: Request) -> bool:
    """Whether it removes several objects and brings no Content-MD5, which older stores ask for."""
    return request.method == "POST" and is_removal(request) and "content-md5" not in request.headers


class Proxy(Line):
    """A :class:`Line` that asks ``rule`` what to do with each request."""

    rule: Rule = staticmethod(lambda request: "forward")

    def carry(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            client_port = near.getpeername()[1]
            with near.makefile("rb") as source:
                while head := read_head(source):
                    request = parse_head(head, client_port)
                    if not self._handle(request, head, read_body(source, request), near, far):
                        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                        break
        shut(near)
        shut(far)

    def _handle(
        self, request: Request, head: bytes, body: Iterator[bytes], near: socket.socket, far: socket.socket
    ) -> bool:
        """Whether the connection goes on after this request."""
        answer = self.rule(request)
        if isinstance(answer, Refuse):
            for _ in body:
                pass
            near.sendall(answer.head if request.method == "HEAD" else answer.head + answer.body)
            return True
        left = answer.share * content_length(request) if isinstance(answer, Break) else float("inf")
        if left > 0:
            far.sendall(head)
            for piece in body:
                far.sendall(piece)
                left -= len(piece)
                if left <= 0:
                    break
        if isinstance(answer, Break):
            answer.first(request)
            return False
        return True


def read_head(source: BinaryIO) -> bytes:
    """The request line and the headers, with the empty line after them; b"" where the client has gone."""
    lines = []
    while line := source.readline(PIECE):
        lines.append(line)
        if line == b"\r\n" and len(lines) > 1:
            return b"".join(lines)
    return b""


def parse_head(head: bytes, client_port: int = 0) -> Request:
    first, *others = head.decode("latin-1").splitlines()
    method, target, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in others if line)
    return Request(method, target, {name.strip().lower(): value.strip() for name, _, value in pairs}, client_port)


def content_length(request: Request) -> int:
    return int(request.headers.get("content-length", 0))


def read_body(source: BinaryIO, request: Request) -> Iterator[bytes]:
    """The body in pieces, exactly as sent: a chunked one keeps its frame."""
    if request.headers.get("transfer-encoding", "").lower() == "chunked":
        yield from _read_chunked(source)
        return
    left = content_length(request)
    while left and (piece := source.read(min(left, PIECE))):
        left -= len(piece)
        yield piece


def _read_chunked(source: BinaryIO) -> Iterator[bytes]:
    while frame := source.readline(PIECE):
        yield frame
        size = int(frame.partition(b";")[0], 16)
        if not size:
            break
        yield source.read(size + 2)
    while trailer := source.readline(PIECE):
        yield trailer
        if trailer == b"\r\n":
            return
