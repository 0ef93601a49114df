"""What the environment says about Ray, checked before Ray is started or joined.

Ray itself finds out after up to minutes, with a traceback.
"""

import os
import secrets
import socket
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from aign.errors import UserError

ADDRESS = "RAY_ADDRESS"
TOKEN, TOKEN_PATH = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
MODE = "RAY_AUTH_MODE"
TOKEN_FILE = "~/.ray/auth_token"
"""Where Ray puts the token of a cluster that it starts."""
TEMPORARY = ("RAY_TMPDIR", "TMPDIR")
"""Variables that name the folder below which Ray works, the first of them that is set."""
LONGEST_SOCKET = 107
"""Bytes of a Unix socket's path."""
SECONDS_TO_CONNECT = 5
REFUSED_PROTOCOLS = {
    "http": "the address of a dashboard, to which commands are submitted",
    "https": "the address of a dashboard, to which commands are submitted",
    "ray": "an address for Ray Client, which Ray Train cannot use",
}


def cluster_address() -> str | None:
    """The Ray cluster that the environment names: host:port or ``auto``. None: Ray is started on this machine."""
    address = os.environ.get(ADDRESS, "")
    return None if address in ("", "local") else address


def check_ray() -> None:
    """Raises UserError, within seconds, if Ray cannot be started here, or the cluster not be joined."""
    address = cluster_address()
    if address is None:
        _check_folder()
        named_token()
        return
    if address != "auto":  # or else Ray looks for what runs on this machine
        _check_answers(address)
    if os.environ.get(MODE, "").lower() == "token" and not find_token():
        raise UserError(f"{MODE} = token", "there is no token", how_to_give_a_token())


def named_token() -> str | None:
    """The token that variables name. Raises UserError for a file that cannot be read."""
    path = os.environ.get(TOKEN_PATH)
    try:
        return os.environ.get(TOKEN) or (Path(path).expanduser().read_text().strip() if path else None)
    except (OSError, UnicodeError, RuntimeError) as error:
        reason = f"cannot be read ({getattr(error, 'strerror', None) or error})"
        raise UserError(f"{TOKEN_PATH} = {path}", reason, "name a file that holds a token") from None


def find_token() -> str | None:
    """The token that Ray would use: the one that variables name, or else its own."""
    if named := named_token():
        return named
    try:
        return Path(TOKEN_FILE).expanduser().read_text().strip()
    except (OSError, UnicodeError, RuntimeError):  # a user without a home is a RuntimeError
        return None


def give_local_token() -> None:
    """Let a Ray that is started here have a token where it cannot write one to the user's home, as it would."""
    if find_token():
        return
    try:
        folder = Path(TOKEN_FILE).expanduser().parent
    except RuntimeError:  # a user without a home
        folder = None
    if folder is None or not _may_write(folder):
        os.environ[TOKEN] = secrets.token_hex(32)


def how_to_give_a_token() -> str:
    """The remedy where a cluster asks for a token."""
    return f"set {MODE}=token, and {TOKEN}, or {TOKEN_PATH} to a file that holds it; Ray keeps its own in {TOKEN_FILE}"


def not_joined(error: Exception) -> Exception:
    """What ``ray.init`` has raised, for a person."""
    reason = " ".join(str(error).split())
    address = cluster_address()
    if address is None:
        return RuntimeError(f"Ray does not start on this machine: {reason}")
    if "Authentication" in type(error).__name__ or "auth token" in reason.lower():
        return UserError(
            f"{ADDRESS} = {address}", "the cluster refuses the token, or asks for one", how_to_give_a_token()
        )
    return UserError(
        f"{ADDRESS} = {address}",
        f"no cluster could be joined there: {reason}",
        f"unset {ADDRESS} to use this machine alone, or name a cluster of the same Ray and Python",
    )


def _check_answers(address: str) -> None:
    shown = f"{ADDRESS} = {address}"
    protocol = address.partition("://")[0] if "://" in address else ""
    if protocol:
        reason = REFUSED_PROTOCOLS.get(protocol, "no address of a Ray cluster")
        raise UserError(
            shown, f"is {reason}", "give HEAD:6379 or auto, or unset it; aign submit takes http://HEAD:8265"
        )
    host, port = _host_and_port(address)
    try:
        socket.create_connection((host, port), SECONDS_TO_CONNECT).close()
    except (OSError, UnicodeError) as error:
        reason = f"nothing answers there ({getattr(error, 'strerror', None) or error})"
        raise UserError(shown, reason, "start the cluster, correct the address, or unset it") from None


def _host_and_port(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{address}")
        if parts.hostname and parts.port and parts.netloc == address:
            return parts.hostname, parts.port
    except ValueError:
        pass
    raise UserError(f"{ADDRESS} = {address}", "is no address of a Ray cluster", "give HEAD:6379 or auto, or unset it")


def _check_folder() -> None:
    """The folder that Ray works in can be written, and leaves room for the names of sockets."""
    name, folder = _temporary_folder(os.environ)
    remedy = f"set {TEMPORARY[0]} to another folder, /tmp for example"
    if not os.path.isabs(folder):
        raise UserError(
            f"{name} = {folder}", "is not a path from /, and Ray's processes stand in other folders", remedy
        )
    longest = f"{folder}/ray/session_{datetime.now():%Y-%m-%d_%H-%M-%S_%f}_{os.getpid()}/sockets/plasma_store"
    too_many = len(longest.encode()) - LONGEST_SOCKET
    if too_many > 0:
        reason = f"is {too_many} bytes too long for the sockets that Ray has below it"
        raise UserError(f"{name} = {folder}", reason, f"set {TEMPORARY[0]} to a shorter path, /tmp for example")
    if not _may_write(Path(folder, "ray")):
        raise UserError(f"{name} = {folder}", "is no folder that you may write to", remedy)


def _may_write(folder: Path) -> bool:
    """Whether a folder can be written to, or be made."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _temporary_folder(environment: Mapping[str, str]) -> tuple[str, str]:
    """The variable that decides, and the folder."""
    return next(((name, environment[name]) for name in TEMPORARY if name in environment), (TEMPORARY[0], "/tmp"))
