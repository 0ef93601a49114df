"""A Ray cluster of a drill, in processes of its own: ``python -m tests.clusters.cluster KIND FOLDER [--host ADDRESS]``.

Says its addresses in a line of JSON as soon as it takes jobs. Of an autoscaled cluster it then writes down every
second, in FOLDER/nodes.jsonl, which nodes there are.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from string import Template
from typing import Any

from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from ray.autoscaler.v2.sdk import get_cluster_status

from aign.errors import UserError
from ray_jobs.submissions.cluster import ClusterAway, connect
from tests.clusters.samples import NODES_FILE
from tests.object_store import free_port

CONFIG = Path(__file__).with_name("autoscaler.yaml")
WORKER = "worker"  # the type of node that comes and goes
CPUS = {"autoscaled": 0, "hosts": 0, "single": 2}
"""Of the head, by kind of cluster: none where workers have nodes of their own."""
SECONDS_BETWEEN_SAMPLES = 1.0
AUTOSCALER_ENVIRONMENT = {
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "1",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
}
RAY_START = (sys.executable, "-m", "ray.scripts.scripts", "start")
"""Ray's command, of this Python."""


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.clusters.cluster")
    parser.add_argument("kind", choices=CPUS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", default="127.0.0.1", help="the head's address")
    arguments = parser.parse_args(argv)
    addresses = start_head(arguments.kind, arguments.folder, arguments.host)
    wait_until_it_takes_jobs(addresses["dashboard"])
    print(json.dumps(addresses), flush=True)
    if arguments.kind == "autoscaled":
        take_samples(addresses["ray"], arguments.folder / NODES_FILE)


def start_head(kind: str, folder: Path, host: str) -> dict[str, str]:
    """Start the head, on ports that nobody else has; the addresses that nodes and jobs need."""
    port, dashboard = free_port(), free_port()
    address = f"{host}:{port}"
    options = {
        "node-ip-address": host,
        "port": port,
        "num-cpus": CPUS[kind],
        "temp-dir": os.environ["RAY_TMPDIR"],
        "dashboard-host": host,
        "dashboard-port": dashboard,
        "min-worker-port": 0,
        "max-worker-port": 0,
        "ray-client-server-port": free_port(),
        "dashboard-agent-listen-port": free_port(),
    }
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    if kind == "autoscaled":
        config = folder / CONFIG.name
        config.write_text(Template(CONFIG.read_text()).substitute(gcs_address=address))
        options["autoscaling-config"] = config
        environment |= AUTOSCALER_ENVIRONMENT
    start = [*RAY_START, "--head", *(f"--{name}={value}" for name, value in options.items())]
    subprocess.run(start, env=environment, stdout=sys.stderr, check=True)
    return {"ray": address, "dashboard": f"http://{host}:{dashboard}"}


def wait_until_it_takes_jobs(dashboard: str) -> None:
    while not takes_jobs(dashboard):
        time.sleep(0.2)


def takes_jobs(dashboard: str) -> bool:
    """Whether jobs can be submitted: the dashboard is there before the agent that starts them."""
    with contextlib.suppress(UserError, ClusterAway):
        nodes: Any = connect(dashboard)._do_request("GET", "/nodes?view=summary").json()["data"]["summary"]
        return any(node.get("agent") for node in nodes)
    return False


def take_samples(address: str, path: Path) -> None:
    with path.open("a") as file:
        while True:
            print(json.dumps({"time": time.time(), "used": nodes(address)}), file=file, flush=True)
            time.sleep(SECONDS_BETWEEN_SAMPLES)


def nodes(address: str) -> dict[str, float]:
    """How many of its CPUs each node that has come, and has not gone, has given to workers."""
    status = get_cluster_status(address)
    return {
        node.instance_id: node.used_resources().get("CPU", 0.0)
        for node in [*status.active_nodes, *status.idle_nodes]
        if node.ray_node_type_name == WORKER
    }


if __name__ == "__main__":
    main(sys.argv[1:])
