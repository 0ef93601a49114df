"""A Ray cluster on this machine that loses and gains nodes when told: ``python -m tests.faults.cluster FOLDER``.

Answers each line on its input, ``remove`` or ``add``, with one line of JSON.
"""

import contextlib
import json
import os
import sys
from pathlib import Path

import psutil
from ray.cluster_utils import Cluster

from tests.faults.run import kill_tree


def main(folder: Path) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes: list = []

    def add() -> dict:
        disk = folder / f"node-{len(os.listdir(folder))}"
        disk.mkdir()
        nodes.append(
            (cluster.add_node(num_cpus=1, env_vars={"TMPDIR": str(disk), "AIGN_SPOOL": str(disk / "spool")}), disk)
        )
        return {"disk": str(disk)}

    def remove() -> dict:
        node, disk = nodes.pop(0)
        kill_all_of(node)
        cluster.remove_node(node, allow_graceful=False)
        return {"disk": str(disk)}

    add(), add()
    say({"address": cluster.address})
    for line in sys.stdin:
        say({"add": add, "remove": remove}[line.strip()]())


def kill_all_of(node) -> None:
    """A machine that goes takes all its processes with it, in no order."""
    for started in [process for kind in node.all_processes.values() for process in kind]:
        with contextlib.suppress(psutil.Error):  # gone with an earlier one
            kill_tree(psutil.Process(started.process.pid))


def say(answer: dict) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
