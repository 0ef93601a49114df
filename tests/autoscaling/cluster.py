"""A cluster that Ray's own autoscaler grows and shrinks here: ``python -m tests.autoscaling.cluster FOLDER``.

Says its address in a line of JSON, then writes down every second, in FOLDER/nodes.jsonl, which nodes there are.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from string import Template

from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from ray.autoscaler.v2.sdk import get_cluster_status

from tests.autoscaling.samples import NODES_FILE
from tests.object_store import free_port

CONFIG = Path(__file__).with_name("autoscaler.yaml")
WORKER = "worker"  # the type of node that comes and goes
SECONDS_BETWEEN_SAMPLES = 1.0
HEAD_ENVIRONMENT = {
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "1",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    "RAY_USAGE_STATS_ENABLED": "0",
}


def main(folder: Path) -> None:
    address = start_head(folder)
    print(json.dumps({"address": address}), flush=True)
    with (folder / NODES_FILE).open("a") as file:
        while True:
            print(json.dumps({"time": time.time(), "used": nodes(address)}), file=file, flush=True)
            time.sleep(SECONDS_BETWEEN_SAMPLES)


def start_head(folder: Path) -> str:
    """Start the head, on ports that nobody else has; its address."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    config = folder / CONFIG.name
    config.write_text(Template(CONFIG.read_text()).substitute(gcs_address=address))
    options = {
        "node-ip-address": "127.0.0.1",
        "port": port,
        "num-cpus": 0,  # no worker is placed beside the cluster's own processes
        "autoscaling-config": config,
        "temp-dir": os.environ["RAY_TMPDIR"],
        "include-dashboard": "false",
        "min-worker-port": 0,
        "max-worker-port": 0,
        "ray-client-server-port": free_port(),
        "dashboard-agent-listen-port": free_port(),
    }
    subprocess.run(
        [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head"),
            *(f"--{name}={value}" for name, value in options.items()),
        ],
        env={**os.environ, **HEAD_ENVIRONMENT},
        stdout=sys.stderr,
        check=True,
    )
    return address


def nodes(address: str) -> dict[str, float]:
    """How many of its CPUs each node that has come, and has not gone, has given to workers."""
    status = get_cluster_status(address)
    return {
        node.instance_id: node.used_resources().get("CPU", 0.0)
        for node in [*status.active_nodes, *status.idle_nodes]
        if node.ray_node_type_name == WORKER
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
