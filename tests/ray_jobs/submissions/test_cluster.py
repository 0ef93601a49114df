"""A cluster that is not there, is something else, wants a token, is too small, or breaks off in the middle of a log."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from ray.job_submission import JobStatus

from aign.errors import UserError
from ray_jobs.runs.job import GIB, Job, Placement, Workers
from ray_jobs.submissions import cluster as clusters
from ray_jobs.submissions import following
from ray_jobs.submissions.cluster import Cluster, ClusterAway, connect
from ray_jobs.submissions.following import follow
from tests.object_store import free_port

TOKEN = "token-1f0a77"


@pytest.fixture
def dashboard(monkeypatch):
    """Starts a server in place of a dashboard, with what it answers by path; gives its address."""
    servers = []
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)

    def dashboard(answer):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                status, body = answer(self)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

            def log_message(self, *_):
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield dashboard
    for server in servers:
        server.shutdown()


def version(request):
    return 200, {"version": "4", "ray_version": "2.60.0", "ray_commit": "x"}


def guarded(request):
    told = request.headers.get("Authorization")
    if told is None:
        return 401, b"Unauthorized: Missing authentication token"
    return version(request) if told == f"Bearer {TOKEN}" else (403, b"Forbidden: Invalid authentication token")


# --- finding it ------------------------------------------------------------------------------------------------------


def test_nothing_says_where_it_is(dashboard):
    with pytest.raises(UserError, match="give --cluster http://HEAD:8265, or set RAY_API_SERVER_ADDRESS"):
        connect(None)


@pytest.mark.parametrize("address", ["auto", "head:6379", "ray://head:10001"])
def test_what_is_no_dashboard(address, dashboard):
    with pytest.raises(UserError, match="is not the address of a Ray dashboard"):
        connect(address)


def test_nobody_is_there(dashboard):
    with pytest.raises(UserError, match=r"127\.0\.0\.1:\d+: the cluster does not answer \(ConnectionError\)"):
        connect(f"http://somebody:{TOKEN}@127.0.0.1:{free_port()}")


def test_nobody_answers(dashboard, monkeypatch):
    monkeypatch.setattr(clusters, "SECONDS_TO_ANSWER", 0.2)
    asked, over = threading.Event(), threading.Event()

    def never(request):
        asked.set()
        over.wait(30)
        return 200, b""

    try:
        with pytest.raises(UserError, match=r"does not answer \(ReadTimeout\)"):
            connect(dashboard(never))
    finally:
        over.set()
    assert asked.is_set()


@pytest.mark.parametrize("answer", [(404, b"no such page"), (200, b"<html>"), (200, {"name": "x"}), (500, b"")])
def test_something_else_is_there(answer, dashboard):
    with pytest.raises(UserError, match="does not answer like a Ray dashboard"):
        connect(dashboard(lambda request: answer))


def test_an_option_goes_before_the_environment(dashboard, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", f"http://127.0.0.1:{free_port()}")
    address = dashboard(version)
    assert connect(address).get_address() == address
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", address)
    assert connect(None).get_address() == address


# --- its token -------------------------------------------------------------------------------------------------------


def test_a_token_is_asked_for(dashboard, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))  # this user may have one
    with pytest.raises(UserError, match="asks for a token, and none was found; set RAY_AUTH_MODE=token"):
        connect(dashboard(guarded))


def test_a_token_is_refused_and_not_shown(dashboard, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong-token")
    with pytest.raises(UserError, match="refuses the token") as refused:
        connect(dashboard(guarded))
    assert "wrong-token" not in str(refused.value)


@pytest.mark.parametrize("where", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_a_token_is_found_without_being_switched_on(where, dashboard, monkeypatch, tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv(where, TOKEN if where == "RAY_AUTH_TOKEN" else str(tmp_path / "token"))
    connect(dashboard(guarded))


def test_a_file_for_the_token_that_is_not_there(dashboard, monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UserError, match="none: cannot be read"):
        connect(dashboard(guarded))


# --- its size --------------------------------------------------------------------------------------------------------

LAPTOP, SERVER = {"CPU": 2.0, "memory": 4.0 * GIB}, {"CPU": 8.0, "GPU": 2.0, "memory": 32.0 * GIB}


@pytest.fixture
def cluster_of(dashboard):
    """A cluster of spot machines, and a last one on demand; it grows, does not, or that is not known."""

    def cluster_of(machines, grows):
        bought = [*["spot"] * (len(machines) - 1), "on-demand"]
        states = [
            {"state": "ALIVE", "resources_total": {**machine, market: 1000.0}}
            for machine, market in zip(machines, bought, strict=True)
        ]
        gone = {"state": "DEAD", "resources_total": {"CPU": 64.0, "GPU": 8.0}}
        types = {f"{i:08x}": "worker" if grows else f"node_{i:08x}" for i in range(len(machines))}
        status = None if grows is None else {"autoscalerReport": {"nodeTypeMapping": types}}
        answers = {
            "/api/version": version(None)[1],
            "/api/v0/nodes": {"data": {"result": {"result": [*states, gone]}}},
            "/api/cluster_status": {"data": {"clusterStatus": status}},
        }
        return connect(dashboard(lambda request: (200, answers[request.path.partition("?")[0]])))

    return cluster_of


def jobs(workers, device, **needs):
    place = Placement(storage="s3://bucket/runs", workers=Workers.parse(workers), device=device, **needs)
    return [Job(run=None, placement=place, name="first")]


@pytest.mark.parametrize(
    ("workers", "device", "needs"),
    [
        *[("10", "cpu", {}), ("10", "auto", {}), ("1:40", "cpu", {}), ("0", "cpu", {})],
        *[("2", "cuda", {}), ("2:40", "cuda", {})],
        ("5", "cpu", {"memory_per_worker": 4}),
        ("2", "cpu", {"machines": "spot"}),
        ("8", "cpu", {"machines": "on-demand"}),
        ("1:40", "cuda", {"memory_per_worker": 20, "machines": "on-demand"}),
    ],
)
def test_there_is_room(workers, device, needs, cluster_of):
    assert cluster_of([LAPTOP, SERVER], grows=False).check_room(jobs(workers, device, **needs)) == []


@pytest.mark.parametrize(
    ("workers", "device", "needs", "expected"),
    [
        ("11", "cpu", {}, "11 workers: the cluster's 2 machines have room for 10"),
        ("3", "cuda", {}, "3 workers with a GPU: the cluster's 2 machines have room for 2"),
        ("3:40", "cuda", {}, "have room for 2"),
        ("6", "cpu", {"memory_per_worker": 6}, "6 workers with 6 GiB: the cluster's 2 machines have room for 5"),
        ("3", "cpu", {"machines": "spot"}, "3 workers on spot machines: the cluster's 2 machines have room for 2"),
        (
            *("2", "cuda", {"memory_per_worker": 20, "machines": "on-demand"}),
            "2 workers with a GPU and 20 GiB on on-demand machines: the cluster's 2 machines have room for 1",
        ),
    ],
)
def test_there_is_no_room(workers, device, needs, expected, cluster_of):
    with pytest.raises(UserError, match="and it does not grow") as refused:
        cluster_of([LAPTOP, SERVER], grows=False).check_room(jobs(workers, device, **needs))
    assert expected in str(refused.value)
    for grows in (True, None):
        (known,) = cluster_of([LAPTOP, SERVER], grows).check_room(jobs(workers, device, **needs))
        assert expected in known
        assert "how far it grows is not known here" in known


# --- its logs --------------------------------------------------------------------------------------------------------

LOG = [f"step {i}\n" for i in range(6)]


class Breaking(Cluster):
    """A cluster to which connections break: each tail of the log ends after so many lines, in its own way."""

    def __init__(self, *tails, away=0):
        self.tails, self.away = list(tails), away

    async def tail_job_logs(self, job_id):
        lines, error = self.tails.pop(0)
        for line in LOG[:lines]:
            yield line
        if error:
            raise error

    def get_job_info(self, job_id):
        if self.away:
            self.away -= 1
            raise ClusterAway("away")
        return SimpleNamespace(status=JobStatus.RUNNING if self.tails else JobStatus.SUCCEEDED)

    def get_job_logs(self, job_id):
        return "".join(LOG)


@pytest.mark.parametrize(
    "cluster",
    [
        Breaking((6, None)),
        Breaking((2, RuntimeError("closed")), (1, OSError("reset")), (4, None), (6, None)),
        Breaking((3, None), (3, RuntimeError("closed"))),  # over before the rest was seen
        Breaking((2, None), (0, OSError("refused")), (6, None), away=1),
    ],
)
def test_every_line_is_shown_once(cluster, capsys, monkeypatch):
    monkeypatch.setattr(following, "SECONDS_BETWEEN_TRIES", 0)
    assert follow(cluster, "first-1").status == JobStatus.SUCCEEDED
    assert capsys.readouterr().out == "".join(LOG)


def test_a_cluster_that_stays_away_is_given_up(monkeypatch):
    monkeypatch.setattr(following, "SECONDS_BETWEEN_TRIES", 0)
    monkeypatch.setattr(following, "SECONDS_OF_PATIENCE", 0)
    with pytest.raises(ClusterAway):
        follow(Breaking((2, OSError("reset")), (2, OSError("reset")), away=2), "first-1")
