"""Hosts with addresses, disks and a network of their own on this machine, one of which can be cut off.

Network namespaces on a bridge: what crosses from one to another goes through a network, which can be taken down.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.clusters.cluster import RAY_START
from tests.faults.drills import Skipped

GATEWAY = "10.83.0.1"
"""This machine as the hosts see it."""
BRIDGE = "aign-drill"
INTERFACE = "eth0"  # of each host, in its namespace


@dataclass(frozen=True)
class Host:
    """One of them."""

    number: int

    @property
    def name(self) -> str:
        return f"{BRIDGE}-{self.number}"

    @property
    def address(self) -> str:
        return f"10.83.0.{self.number + 1}"

    @property
    def link(self) -> str:
        """Its cable's end on this machine."""
        return f"aign-link-{self.number}"

    def holds(self, pid: int) -> bool:
        """Whether a process runs there."""
        return os.path.samefile(f"/proc/{pid}/ns/net", f"/run/netns/{self.name}")

    def cut_off(self) -> None:
        ip("link", "set", self.link, "down")

    def join_again(self) -> None:
        ip("link", "set", self.link, "up")

    def node(self, cluster: str) -> list[str]:
        """Python's arguments for a node with one CPU that joins a cluster, again and again, as a service does.

        What lies in the temporary folders is the host's own.
        """
        start = [*RAY_START, f"--address={cluster}", f"--node-ip-address={self.address}", "--num-cpus=1", "--block"]
        return ["-m", "tests.clusters.hosts", self.name, *start]


@contextlib.contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """So many hosts until the end of the block. Raises Skipped where there can be none."""
    if os.geteuid() or not all(shutil.which(name) for name in ("ip", "unshare", "mount")):
        raise Skipped("hosts of their own need root, and Linux with iproute2 and util-linux")
    made = [Host(number) for number in range(1, count + 1)]
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("addr", "add", f"{GATEWAY}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for host in made:
            _connect(host)
        yield made
    except subprocess.CalledProcessError as error:
        raise Skipped(f"hosts of their own cannot be made here: {error.stderr.strip()}") from None
    finally:
        for host in made:
            ip("link", "delete", host.link, check=False)
            ip("netns", "delete", host.name, check=False)
        ip("link", "delete", BRIDGE, check=False)


def _connect(host: Host) -> None:
    ip("netns", "add", host.name)
    ip("link", "add", host.link, "type", "veth", "peer", "name", INTERFACE, "netns", host.name)
    ip("link", "set", host.link, "master", BRIDGE, "up")
    ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", INTERFACE)
    for interface in (INTERFACE, "lo"):
        ip("-n", host.name, "link", "set", interface, "up")


def ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True, text=True)


def enter(name: str, command: Sequence[str]) -> None:
    """Become ``command`` on a host, which is run again whenever it ends."""
    own_disks = 'mount -t tmpfs tmpfs "$RAY_TMPDIR" && mount -t tmpfs tmpfs "$TMPDIR"'
    again = f'{own_disks} && while true; do "$@"; sleep 1; done'
    os.environ["GLOO_SOCKET_IFNAME"] = INTERFACE
    os.execvp("ip", ["ip", "netns", "exec", name, "unshare", "--mount", "bash", "-c", again, "host", *command])


if __name__ == "__main__":
    enter(sys.argv[1], sys.argv[2:])
