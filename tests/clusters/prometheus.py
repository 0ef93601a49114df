"""A Prometheus that collects what a cluster's nodes export, by the configuration that Ray writes for it."""

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.faults.drills import Skipped
from tests.faults.run import Run, Unexpected
from tests.object_store import free_port

CONFIG = "session_latest/metrics/prometheus/prometheus.yml"
SECONDS_TO_START = 60.0


class Prometheus:
    """The server, as long as this is entered. Raises Skipped where it is not installed."""

    def __init__(self, run: Run) -> None:
        if not shutil.which("prometheus"):
            raise Skipped("prometheus is not installed (Debian's package of that name)")
        self._run = run
        self._address = f"127.0.0.1:{free_port()}"

    def __enter__(self) -> "Prometheus":
        folder = self._run.folder / "prometheus"
        options = {
            "config.file": Path(self._run.ray_folder) / CONFIG,
            "storage.tsdb.path": folder,
            "web.listen-address": self._address,
        }
        with (self._run.folder / "prometheus.txt").open("w") as log:
            argv = ["prometheus", *(f"--{name}={value}" for name, value in options.items())]
            self._server = subprocess.Popen(argv, stdout=log, stderr=log)
        deadline = time.monotonic() + SECONDS_TO_START
        while not self._is_ready():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise Unexpected(f"Prometheus did not start: {self._run.folder / 'prometheus.txt'}")
            time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.terminate()
        self._server.wait(30)

    def values(self, name: str, run: str) -> list[str]:
        """The newest values of a metric of one run, each with what it is of."""
        query = urllib.parse.urlencode({"query": f'{name}{{run="{run}"}}'})
        found: list[dict[str, Any]] = json.loads(self._read(f"/api/v1/query?{query}"))["data"]["result"]
        return [f"{_part(one['metric'])}{float(one['value'][1]):.4g}" for one in found]

    def _is_ready(self) -> bool:
        try:
            return bool(self._read("/-/ready"))
        except OSError:
            return False

    def _read(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{self._address}{path}", timeout=10) as answer:
            return answer.read().decode()


def _part(labels: dict[str, str]) -> str:
    return "".join(f"{labels[name]} " for name in ("term", "metric") if name in labels)
