"""What the environment says about Ray is refused in one line, before Ray is asked."""

import os
import socket

import pytest

from aign.errors import UserError
from ray_jobs import compare, sweep, train
from ray_jobs.launch import ray_environment
from ray_jobs.launch.ray_environment import check_ray, cluster_address, find_token, give_local_token, not_joined
from tests.object_store import free_port


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """Nothing is said about Ray, and the user's home is empty."""
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TMPDIR", "/tmp")
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


def refused_value() -> str:
    with pytest.raises(UserError) as error:
        check_ray()
    assert "\n" not in str(error.value)
    return error.value.value


def test_a_plain_machine():
    check_ray()
    assert cluster_address() is None


@pytest.mark.parametrize("address", ["", "local"])
def test_words_for_this_machine(address, environment):
    environment.setenv("RAY_ADDRESS", address)
    check_ray()
    assert cluster_address() is None


@pytest.mark.parametrize(
    "address",
    [
        *("http://127.0.0.1:8265", "https://ray", "ray://127.0.0.1:10001", "tcp://127.0.0.1:6379", "file:///x"),
        *(
            "head",
            "head:",
            ":6379",
            "head:port",
            "head:0",
            "head:66666",
            "a b:6379",
            "me@head:6379",
            "head:6379/x",
            "[::1",
        ),
    ],
)
def test_what_is_no_address_of_a_cluster(address, environment):
    environment.setenv("RAY_ADDRESS", address)
    assert refused_value() == f"RAY_ADDRESS = {address}"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "nowhere.invalid", f"{'a' * 70}.invalid"])
def test_a_cluster_that_does_not_answer(host, environment):
    address = f"{host}:{free_port()}"
    environment.setenv("RAY_ADDRESS", address)
    assert refused_value() == f"RAY_ADDRESS = {address}"


def test_a_cluster_that_takes_no_connection(environment):
    """As behind a firewall that drops what comes."""

    def drop(address, timeout):
        assert timeout <= 10
        raise TimeoutError("timed out")

    environment.setattr(socket, "create_connection", drop)
    environment.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert refused_value() == "RAY_ADDRESS = 10.0.0.1:6379"


@pytest.fixture
def answering(environment):
    """RAY_ADDRESS names a port where something answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        environment.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        yield


def test_a_cluster_that_answers(answering, environment):
    environment.setenv("TMPDIR", "/" + 70 * "x")  # of the machine where Ray was started, not of this one
    check_ray()


def test_token_mode_without_a_token(answering, environment, tmp_path):
    environment.setenv("RAY_AUTH_MODE", "token")
    assert refused_value() == "RAY_AUTH_MODE = token"
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret\n")
    check_ray()
    assert find_token() == "secret"


def test_a_file_of_a_token_that_is_not_there(environment, tmp_path):
    environment.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    assert refused_value() == f"RAY_AUTH_TOKEN_PATH = {tmp_path / 'token'}"
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    assert refused_value() == f"RAY_AUTH_TOKEN_PATH = {tmp_path / 'token'}"
    (tmp_path / "token").write_text("secret")
    check_ray()


def test_a_home_that_cannot_be_written(environment, tmp_path):
    give_local_token()
    assert "RAY_AUTH_TOKEN" not in os.environ  # Ray writes one
    (tmp_path / "file").touch()
    environment.setenv("HOME", str(tmp_path / "file"))
    environment.setenv("RAY_AUTH_TOKEN", "")
    give_local_token()
    assert len(os.environ["RAY_AUTH_TOKEN"]) > 32


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_folder_too_long_for_sockets(name, environment):
    folder = "/tmp/" + 65 * "x"
    environment.setenv(name, folder)
    assert refused_value() == f"{name} = {folder}"


def test_the_longest_folder_that_ray_can_work_in(environment):
    """Ray's own rule, applied to the names that it makes."""
    from ray._private.utils import validate_socket_filepath

    def name_of(folder):
        return f"{folder}/ray/session_2026-11-27_14-00-00_000000_{os.getpid()}/sockets/plasma_store"

    folder = "/tmp/" + (107 - len(name_of("/tmp/"))) * "x"
    validate_socket_filepath(name_of(folder))
    environment.setenv("TMPDIR", folder)
    check_ray()
    environment.setenv("TMPDIR", folder + "x")
    assert refused_value() == f"TMPDIR = {folder}x"
    environment.setenv("RAY_TMPDIR", "/tmp")  # which goes before TMPDIR
    check_ray()


def test_folders_that_ray_cannot_work_in(environment, tmp_path):
    environment.setenv("TMPDIR", "somewhere")
    assert refused_value() == "TMPDIR = somewhere"
    environment.setenv("TMPDIR", "/dev/null")
    assert refused_value() == "TMPDIR = /dev/null"
    environment.setattr(os, "access", lambda path, mode: False)
    environment.setenv("TMPDIR", "/tmp")
    assert refused_value() == "TMPDIR = /tmp"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.9.1"), UserError),
        (ConnectionError("Could not find any running Ray instance."), UserError),
        (ValueError("no"), UserError),
    ],
)
def test_a_cluster_that_cannot_be_joined(error, kind, environment):
    environment.setenv("RAY_ADDRESS", "auto")
    said = not_joined(error)
    assert isinstance(said, kind)
    assert said.value == "RAY_ADDRESS = auto"
    assert "\n" not in str(said)


def test_a_token_that_is_refused(environment):
    from ray.exceptions import AuthenticationError

    environment.setenv("RAY_ADDRESS", "head:6379")
    said = not_joined(AuthenticationError("Token authentication is enabled, but"))
    assert isinstance(said, UserError)
    assert said.remedy == ray_environment.how_to_give_a_token()


def test_a_ray_that_does_not_start_here():
    said = not_joined(OSError("no space\nleft"))
    assert isinstance(said, RuntimeError)
    assert "\n" not in str(said)


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (train.command, ["pose", "--workers", "2"]),
        (train.command, ["pose", "--workers", "2", "--dry-run"]),
        (compare.command, ["pose", "--workers", "2"]),
        (sweep.command, ["pose", "--workers", "0", "--space", "alpha=gnc|fixed:1", "--dry-run"]),  # Tune is Ray's
    ],
)
def test_commands_that_use_ray_look_first(command, options, environment, tmp_path, refused):
    environment.setattr("ray.init", lambda *_, **__: pytest.fail("Ray was started"))
    environment.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    assert "RAY_ADDRESS = http://127.0.0.1:8265" in refused(command, *options, "--storage", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
