"""What the fault drills (``make faults``) rest on: the line that looks into requests, and the analysis of a run."""

import http.client
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from tests.faults import analysis, damage
from tests.faults.drills import DRILLS
from tests.faults.proxy import SLOW_DOWN, Break, Proxy, Trap, parse_head, read_body, read_head, throttle

HEAD = b"PUT /bucket/run/checkpoints/step_0000060/state.json?x=1 HTTP/1.1\r\nHost: store\r\n"


def request(rest=b""):
    return parse_head(HEAD + rest + b"\r\n")


# --- the line --------------------------------------------------------------------------------------------------------


def test_a_request_is_read_up_to_its_end():
    body = b"5;signature=a\r\nhello\r\n0\r\nx-checksum: b\r\n\r\n"
    stream = io.BytesIO(
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body + HEAD + b"Content-Length: 3\r\n\r\nabcHEAD"
    )
    first = parse_head(read_head(stream))
    assert str(first) == "PUT /bucket/run/checkpoints/step_0000060/state.json?x=1"
    assert b"".join(read_body(stream, first)) == body
    assert b"".join(read_body(stream, parse_head(read_head(stream)))) == b"abc"
    assert stream.read() == b"HEAD"


def test_a_trap_springs_once():
    trap = Trap(r"PUT .*/state\.json", Break())
    assert trap(parse_head(b"GET /state.json HTTP/1.1\r\n\r\n")) == "forward"
    assert isinstance(trap(request()), Break)
    assert trap.sprung.is_set()
    assert trap(request()) == "forward"


def test_throttling_refuses_a_share():
    rule = throttle(0.2)
    answers = [rule(request()) for _ in range(2000)]
    assert 0.08 < answers.count(SLOW_DOWN) / 2000 < 0.12
    assert 0.78 < answers.count("forward") / 2000 < 0.82


@pytest.fixture
def server():
    """A server that answers every request with what it was sent."""

    class Echo(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self):
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", str(len(received[-1])))
            self.end_headers()
            self.wfile.write(received[-1])

        def log_message(self, *_):
            pass

    received = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, received
    server.shutdown()
    server.server_close()


@pytest.fixture
def client(server):
    proxy = Proxy(server[0])
    client = http.client.HTTPConnection(proxy.endpoint.removeprefix("http://"), timeout=10)
    yield proxy, client
    client.close()
    proxy.cut()


def put(client, body):
    client.request("PUT", "/a", body)
    answer = client.getresponse()
    return answer.status, answer.read()


def test_a_line_forwards_refuses_and_breaks(client, server):
    proxy, http_client = client
    assert put(http_client, b"1" * 200_000) == (200, b"1" * 200_000)
    proxy.rule = Trap("PUT", SLOW_DOWN)
    status, answer = put(http_client, b"2")
    assert (status, b"SlowDown" in answer) == (503, True)
    assert put(http_client, b"3") == (200, b"3")  # over the same connection
    called = []
    proxy.rule = Trap("PUT", Break(first=lambda request: called.append(request.client_port)))
    port = http_client.sock.getsockname()[1]
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        put(http_client, b"4")
    assert called == [port]
    http_client.close()
    assert put(http_client, b"5") == (200, b"5")
    assert [body[:1] for body in server[1]] == [b"1", b"3", b"5"]


# --- what is told of a run -------------------------------------------------------------------------------------------


def lines(*steps, attempt=1, start=100.0, **values):
    return [
        {"time": start + step, "step": step, "stage": "a", "attempt": attempt, "loss": 1.0 / step, **values}
        for step in steps
    ]


REFERENCE = [*lines(5, 10, 15, 20), {"time": 120.0, "step": 20, "evaluation": {}, "attempt": 1}]


def test_gaps_and_other_values_are_found():
    run = [*lines(5, 10), *lines(20, attempt=2, samples_per_second=3.0)]
    assert analysis.missing_steps(run, REFERENCE) == [15]
    assert analysis.differing_steps(run, REFERENCE) == []
    assert analysis.differing_steps([*run, *lines(15, loss=3.0)], REFERENCE) == [15]


def test_what_a_fault_cost():
    before, after = lines(5, 10, 15), lines(15, 20, attempt=2, start=130.0)
    assert analysis.farthest_step(before + after, [10], fault=118.0) == 15
    assert analysis.farthest_step([], [10], fault=118.0) == 10
    assert analysis.estimated_step(before + after, fault=118.0, checkpoint_every=20) == 18
    assert analysis.estimated_step(before + after, fault=125.0, checkpoint_every=20) == 19
    assert analysis.first_after(before + after, fault=118.0) is after[0]
    assert analysis.first_after(before, fault=107.0) is before[1]
    assert analysis.first_after([*before, *after], fault=107.0) is after[0]
    assert analysis.first_after(before, fault=118.0) is None
    assert analysis.resumed_step(before + after, after[0]) == 10
    assert analysis.resumed_step(after, after[0]) == 0


def test_only_retention_may_remove_a_checkpoint():
    assert analysis.lost_checkpoints([40, 60], [60, 80]) == []
    assert analysis.lost_checkpoints([40, 60], [40, 80]) == [60]
    assert analysis.lost_checkpoints([40, 60], [180, 200]) == []
    assert analysis.lost_checkpoints([40, 60], []) == [40, 60]


def test_distance_is_zero_for_equal_bits_only():
    weights = {"a": torch.tensor([3.0, 4.0])}
    assert analysis.distance(weights, {"a": torch.tensor([3.0, 4.0])}) == 0
    assert analysis.distance({"a": torch.tensor([3.0, 4.5])}, weights) == pytest.approx(0.1)
    assert analysis.distance({"a": torch.tensor([0.0])}, {"a": torch.tensor([-0.0])}) > 0
    assert analysis.distance({"b": weights["a"]}, weights) == float("inf")


def test_damage_is_small():
    state = json.dumps({"progress": {"step": 60, "generator_updates": 118}}, indent=1).encode()
    assert json.loads(damage.flip_number(state)) == {"progress": {"step": 60, "generator_updates": 119}}
    assert sum(a != b for a, b in zip(damage.flip(b"abcd"), b"abcd", strict=True)) == 1
    assert damage.truncate(b"abcd") == b"abc"


def test_every_drill_says_what_it_does():
    assert next(iter(DRILLS)) == "undisturbed"
    assert all(drill.summary.endswith(".") for drill in DRILLS.values())
