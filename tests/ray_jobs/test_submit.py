"""Commands on a real cluster: a head with a dashboard that asks for a token, and knows no store and no credentials."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from aign.storage.store import Store
from ray_jobs import jobs, submit
from ray_jobs.cli.console import run_command
from ray_jobs.runs.checkpoints import checkpoint_steps
from ray_jobs.submissions import following
from tests.object_store import KEYS, files_with, free_port

pytestmark = pytest.mark.ray

WAIT_S = 120
PASSED = ("--pass-env", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
ENDLESS = ("--steps", "100000", "--log-every", "20", "--checkpoint-every", "100", "--evaluate-every", "100000")


@dataclass(frozen=True)
class Head:
    """A cluster of one machine."""

    address: str
    folder: Path
    token: str


@pytest.fixture(scope="module")
def head():
    """A Ray head as an administrator starts one, in processes and a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="aign-head-"))  # a short path: sockets lie in it
    token = secrets.token_hex(32)
    (folder / "token").write_text(token)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RAY_", "AIGN_"))}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_health_check_failure_threshold": "100",  # a busy machine is not a dead one
    }
    dashboard, agent, client = free_port(), free_port(), free_port()
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--temp-dir={folder / 'ray'}"]
    sizes = ["--num-cpus=2", "--object-store-memory=100000000", "--disable-usage-stats"]
    ports = [f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
    ports += [f"--ray-client-server-port={client}", "--port=0", "--min-worker-port=0", "--max-worker-port=0"]
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen([*ray, *sizes, *ports], env=environment, stdout=out, stderr=out)
    try:
        head = Head(f"http://127.0.0.1:{dashboard}", folder, token)
        wait_until(lambda: process.poll() is not None or answers(head))
        assert process.poll() is None, (folder / "out").read_text()
        yield head
    finally:
        kill_all(process)
        shutil.rmtree(folder, ignore_errors=True)


def answers(head):
    """Whether jobs can be submitted: the dashboard is there before its agent is."""
    with contextlib.suppress(OSError):
        nodes = json.loads(ask(head, "/nodes?view=summary"))["data"]["summary"]
        return any(node.get("agent") for node in nodes)


def ask(head, path):
    request = urllib.request.Request(head.address + path, headers={"Authorization": f"Bearer {head.token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def kill_all(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        for started in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                started.kill()
    process.wait(WAIT_S)


def wait_until(true):
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture
def call(head, object_store, monkeypatch, capfd):
    """Calls a command about the cluster as a person does; its exit status, and all that it said."""
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(head.folder / "token"))
    for name in ("RAY_AUTH_TOKEN", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)

    def call(command, *argv):
        at = 0 if command is submit.command else len(argv)
        argv = [*argv[:at], "--cluster", head.address, *argv[at:]]
        capfd.readouterr()
        try:
            run_command(command, argv)
            status = 0
        except SystemExit as ended:
            status = ended.code
        said = capfd.readouterr()
        return status, said.out + said.err

    return call


@pytest.fixture(scope="module")
def storage(object_store):
    return f"{object_store.bucket}/{uuid.uuid4().hex}"


def test_a_run_of_ray_workers_is_followed_to_its_end_and_no_secret_is_seen(head, call, storage, tiny_argv):
    train = ("train", "pose", *tiny_argv, "--workers", "1", "--storage", storage)
    status, said = call(submit.command, *PASSED, "--name", "first", "--", *train)
    assert status == 0, said
    for words in ("step 12  test  mpjpe_mm", "torso_aligned_mm", f"run: {storage}/first", "first-1: succeeded"):
        assert words in said
    assert Store(f"{storage}/first").exists("export/config.json")
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in said + "".join(
        ask(head, path) for path in ("/api/jobs/", "/api/v0/runtime_envs?detail=1", "/api/v0/actors?detail=1")
    )
    assert files_with(KEYS["AWS_SECRET_ACCESS_KEY"], head.folder) == {"passed_environment.json"}


def test_a_mistake_that_only_the_cluster_sees_ends_with_its_status(call, storage, tiny_argv):
    train = ("train", "pose", *tiny_argv, "--workers", "0", "--storage", storage, "--data", "cmu", "--name", "wrong")
    status, said = call(submit.command, *PASSED, "--", *train)
    assert status == 2
    assert "error: AIGN_DATA: is not set" in said
    assert "wrong-1: failed with status 2; to go on: aign jobs resume wrong --cluster http://127.0.0.1" in said


def test_a_run_is_left_stopped_and_resumed(call, storage, tiny_argv, monkeypatch):
    train = ("train", "pose", *tiny_argv, *ENDLESS, "--workers", "0", "--storage", storage, "--name", "long")
    with monkeypatch.context() as patch:
        patch.setattr(following, "_print", lambda text: "/100000" in text and os.kill(os.getpid(), signal.SIGINT))
        status, said = call(submit.command, *PASSED, "--", *train)
    assert status == 130
    assert "long-1 goes on: aign jobs logs long" in said

    status, said = call(submit.command, *PASSED, "--", *train)
    assert status == 2
    assert "long-1: is running already" in said

    status, said = call(jobs.command, "stop", "long")
    assert status == 0
    assert "long-1: stopped; to go on: aign jobs resume long" in said
    newest = checkpoint_steps(Store(f"{storage}/long"))[0]
    status, said = call(jobs.command, "logs", "long", "--follow")
    assert status == 143
    assert f"long stopped at step {newest}; the same command goes on from there" in said

    assert call(jobs.command, "resume", "long", "--detach") == (0, "long-2\n")
    wait_until(lambda: f"long goes on from step {newest}" in call(jobs.command, "logs", "long")[1])
    assert call(jobs.command, "stop", "long")[0] == 0
