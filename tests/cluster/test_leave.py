"""A spot machine's last minutes: Ray hears of them when the cloud says so, and not before."""

import http.server
import shlex
import subprocess
import threading
import time

import pytest
from ray.scripts.scripts import drain_node

TOKEN = "a-token"


class Metadata(http.server.BaseHTTPRequestHandler):
    """What a machine is told by AWS (which asks for a token first) and by Google."""

    leaving = False
    asked = 0

    def do_PUT(self):
        self.answer(TOKEN)

    def do_GET(self):
        type(self).asked += 1
        if self.path == "/latest/meta-data/spot/instance-action" and self.headers["X-aws-ec2-metadata-token"] == TOKEN:
            self.answer('{"action": "terminate"}') if self.leaving else self.send_error(404)
        elif self.path == "/computeMetadata/v1/instance/preempted" and self.headers["Metadata-Flavor"] == "Google":
            self.answer("TRUE" if self.leaving else "FALSE")
        else:
            self.send_error(401)

    def answer(self, text):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def machine():
    """A machine's metadata, and where it answers."""
    kind = type("OneMachine", (Metadata,), {})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield kind, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def commands(tmp_path):
    """Stands in for ``ray`` (fails once) and ``sleep``; what it was called with is in the file."""
    calls = tmp_path / "calls"
    (tmp_path / "ray").write_text(f'#!/bin/sh\necho "$*" >> {calls}\n[ "$(wc -l < {calls})" -ge 2 ]\n')
    (tmp_path / "sleep").write_text("#!/bin/sh\nexec /bin/sleep 0.05\n")
    for name in ("ray", "sleep"):
        (tmp_path / name).chmod(0o755)
    return calls


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_ray_is_told_when_the_cloud_takes_the_machine_away(cloud, folder, machine, commands):
    kind, url = machine
    environment = {"PATH": f"{commands.parent}:/usr/bin:/bin", "METADATA_URL": url}
    with subprocess.Popen(["bash", str(folder / "leave.sh"), cloud], env=environment) as process:
        wait_until(lambda: kind.asked >= 3)
        assert not commands.exists(), "the machine may stay"
        kind.leaving = True
        assert process.wait(20) == 0
    first, second = commands.read_text().splitlines()
    assert first == second, "Ray did not answer at first"


def wait_until(happened):
    for _ in range(400):
        if happened():
            return
        time.sleep(0.05)
    raise AssertionError("it never happened")


def test_ray_knows_how_it_is_told(folder):
    script = (folder / "leave.sh").read_text().replace("\\\n", " ")
    (call,) = [line for line in script.splitlines() if "ray drain-node" in line]
    words = shlex.split(call.removesuffix("; do"))
    context = drain_node.make_context("drain-node", [word.replace("$seconds_left", "25") for word in words[3:]])
    assert context.params["reason"] == "DRAIN_NODE_REASON_PREEMPTION"
    assert context.params["deadline_remaining_seconds"] == 25


def test_a_cloud_that_it_does_not_know_is_refused(folder):
    ended = subprocess.run(["bash", str(folder / "leave.sh"), "azure"], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "aws|gcp" in ended.stderr


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_workers_listen_to_their_own_cloud(cloud, read):
    assert any(f"aign-leave {cloud} " in command for command in read(f"{cloud}.yaml")["worker_start_ray_commands"])
