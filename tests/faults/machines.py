"""Machines that can be lost: nodes of a Ray cluster on this one, and a small disk."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.faults.run import Run, Unexpected

SMALL_DISK_MIB = 256


@contextlib.contextmanager
def cluster(run: Run) -> Iterator["Cluster"]:
    """A Ray cluster of a head without CPUs and two nodes with one CPU each; each node has its own temporary folder."""
    # Ray's own processes need no store; workers inherit its address and their folder from their node
    process = run.start_process(
        ["-m", "tests.faults.cluster", str(run.temporary)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield Cluster(process)
    finally:
        run.end()


class Cluster:
    """The cluster in another process, which has to be told."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process
        self.address = self._answer()["address"]

    def remove_node(self) -> None:
        """A node that does not hold the driver ends at once with all that runs there, and its disk is lost."""
        lost = self._ask("remove")["disk"]
        shutil.rmtree(lost, ignore_errors=True)

    def add_node(self) -> None:
        self._ask("add")

    def _ask(self, what: str) -> dict:
        assert self._process.stdin
        print(what, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict:
        assert self._process.stdout
        for line in self._process.stdout:  # Ray's own lines may come between
            if line.startswith("{"):
                return json.loads(line)
        raise Unexpected("the cluster of the drill has ended")


def can_mount() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("mount") is not None


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of its own, in memory, at ``folder``."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_MIB}m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Fill the disk under ``ballast`` with that file."""
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass
