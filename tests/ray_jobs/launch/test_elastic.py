"""A run on machines that come and go: several Ray nodes on this machine, and the command in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from unittest.mock import MagicMock

import psutil
import pytest

from aign.storage.store import Store
from ray_jobs.launch import elastic
from ray_jobs.launch.ray_internals import ScalingConfig
from ray_jobs.runs.checkpoints import checkpoint_steps
from ray_jobs.runs.job import GIB

LONGEST_WAIT_S = 300  # on a machine that is busy with other things; nothing here takes longer than half a minute
SECONDS_OF_GRACE = 10 * LONGEST_WAIT_S  # what happens at all happens before the machine goes
OPTIONS = ("--width", "32", "--num-blocks", "1", "--batch-size", "16", "--steps", "1000000", "--log-every", "10")


@pytest.fixture
def cluster():
    """A Ray cluster whose one node has one CPU."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


@pytest.fixture
def command(cluster, tmp_path, request):
    """``aign train`` with one or two workers on the cluster, which saves only when workers have to leave."""
    moments = ("--checkpoint-every", "1000000", "--evaluate-every", "1000000")
    argv = ["-m", "ray_jobs.train", "pose", *OPTIONS, *moments, "--workers", "1:2", *getattr(request, "param", ())]
    command = subprocess.Popen(
        [sys.executable, *argv, "--storage", str(tmp_path), "--name", "run"],
        env={**os.environ, "RAY_ADDRESS": cluster.address, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    yield command
    command.kill()
    command.wait()


def attempts(run):
    """What the attempts of a run recorded about themselves, in order."""
    return [json.loads(path.read_text()) for path in sorted(run.glob("attempts/*.json"))]


def num_trained(run):
    """How many attempts have begun to train."""
    return sum("start_step" in attempt for attempt in attempts(run))


def wait_until(condition, command):
    deadline = time.monotonic() + LONGEST_WAIT_S
    while not condition():
        assert command.poll() is None, command.communicate()[0]
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def raylets(attempt):
    """How the nodes were started on which an attempt's workers run."""
    return [" ".join(psutil.Process(worker["pid"]).parent().cmdline()) for worker in attempt["processes"]]


def drain(cluster, node):
    """Announce that a node will go, as a cloud does before it takes a spot machine back."""
    from ray._raylet import GcsClient
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    deadline_ms = int(1000 * (time.time() + SECONDS_OF_GRACE))
    reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, said = GcsClient(address=cluster.address).drain_node(node.node_id, reason, "", deadline_ms)
    assert accepted, said


@pytest.mark.ray
def test_a_run_grows_with_its_cluster_leaves_a_machine_that_is_about_to_go_and_stops(cluster, command, tmp_path):
    run = tmp_path / "run"
    wait_until(lambda: num_trained(run) == 1, command)
    node = cluster.add_node(num_cpus=1)
    wait_until(lambda: num_trained(run) == 2, command)
    drain(cluster, node)
    wait_until(lambda: num_trained(run) == 3, command)
    command.send_signal(signal.SIGTERM)
    said = command.communicate(timeout=LONGEST_WAIT_S)[0]
    assert command.returncode == 128 + signal.SIGTERM, said

    one, two, one_again = attempts(run)
    assert (one["workers"], two["workers"], one_again["workers"]) == (1, 2, 1)
    # all checkpoints there are were saved because workers had to leave
    assert 0 == one["start_step"] < two["start_step"] < one_again["start_step"]
    assert one_again["start_step"] in checkpoint_steps(Store(run))
    assert f"run goes on from step {two['start_step']} with 2 workers\n" in said
    assert f"run goes on from step {one_again['start_step']} with 1 workers\n" in said
    assert "run stopped at step" in said


def test_machines_that_are_about_to_go_do_not_count(monkeypatch):
    monkeypatch.setattr(elastic.ray, "get", lambda answer, timeout: {"stays": {"CPU": 1}, "leaving": {"CPU": 1}})
    monkeypatch.setattr(elastic.cluster_state, "get_draining_nodes", lambda: {"leaving": 0})
    monkeypatch.setattr(elastic.ElasticPolicy, "_autoscaling_coordinator", MagicMock())
    policy = elastic.ElasticPolicy(ScalingConfig(num_workers=(1, 3)), None, None)
    assert policy._get_reserved_resources().keys() == {"stays"}


@pytest.mark.ray
@pytest.mark.parametrize("command", [("--machines", "spot", "--memory-per-worker", "1")], indirect=True)
def test_a_run_grows_only_on_machines_that_have_what_its_workers_need(cluster, command, tmp_path):
    spot = {"spot": 1000}
    cluster.add_node(num_cpus=2, memory=64 * GIB, resources={"on-demand": 1000})  # more of everything, but not spot
    cluster.add_node(num_cpus=2, memory=GIB, resources=spot)
    wait_until(lambda: attempts(tmp_path / "run"), command)
    cluster.add_node(num_cpus=2, memory=GIB, resources=spot)
    wait_until(lambda: len(attempts(tmp_path / "run")) == 2, command)
    one, two = attempts(tmp_path / "run")
    assert (one["workers"], two["workers"]) == (1, 2)
    assert len(set(raylets(two))) == 2
    assert all("spot,1000" in raylet for raylet in raylets(two))
