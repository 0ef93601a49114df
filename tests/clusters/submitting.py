"""A drill's cluster, and what a person does with it: submit, look, stop, resume."""

import json
import os
import time
from pathlib import Path
from subprocess import PIPE

from ray_jobs.submissions.cluster import connect
from tests.clusters import samples
from tests.clusters.samples import NODES_FILE, Sample
from tests.faults.run import Run, Unexpected
from tests.object_store import files_with

LONGEST_IDLE_S = 60.0  # far more than the cluster's idle timeout


class Cluster:
    """A cluster of one kind, in processes that end with ``run``."""

    def __init__(self, run: Run, kind: str, host: str = "127.0.0.1") -> None:
        self._run, self._folder = run, run.folder / "cluster"
        # Each node that comes would unpack the code anew, in the folder that the others work in.
        self._shares_a_folder = kind == "autoscaled"
        self._folder.mkdir()
        argv = ["-m", "tests.clusters.cluster", kind, str(self._folder), "--host", host]
        with (self._folder / "console.txt").open("w") as console:
            process = run.start_process(argv, stdout=PIPE, stderr=console, text=True)
        assert process.stdout
        said = process.stdout.readline()
        if not said:
            raise Unexpected("the cluster did not start")
        addresses = json.loads(said)
        self.ray, self.dashboard = addresses["ray"], addresses["dashboard"]

    def submit(self, verb: str, *words: str) -> float:
        """Submit a command and follow it, in another process; when that was."""
        began = time.time()
        where = ["--cluster", self.dashboard, *(["--installed"] if self._shares_a_folder else [])]
        self._run.start_process(["-m", "ray_jobs.submit", *where, "--", verb, *words])
        return began

    def submit_run(self, verb: str, *options: str) -> float:
        """The same for what writes the drill's run."""
        return self.submit(verb, "pose", *options, "--storage", self._run.storage, "--name", self._run.name)

    def resume(self, *changes: str) -> None:
        """Resume the drill's run by its name and follow it, in another process."""
        self._run.start_process(self._about("resume", *changes))

    def stop(self) -> None:
        """Ask the drill's run to stop, and wait until it has."""
        self._run.call(self._about("stop"))

    def _about(self, verb: str, *changes: str) -> list[str]:
        return ["-m", "ray_jobs.jobs", verb, self._run.name, "--cluster", self.dashboard, *changes]

    def expect_no_secret_in_logs(self) -> None:
        """Ray logs much of what it starts."""
        logs = Path(self._run.ray_folder) / "session_latest" / "logs"
        told = files_with(os.environ["AWS_SECRET_ACCESS_KEY"], logs.resolve())
        self._run.expect(not told, f"logs of the cluster hold a secret: {', '.join(sorted(told))}")

    def num_machines(self) -> int:
        """That the cluster counts as living, its head too."""
        return len(connect(self.dashboard)._machines())

    def samples(self) -> list[Sample]:
        file = self._folder / NODES_FILE
        return samples.read(file.open()) if file.exists() else []

    def wait_until_empty(self, since: float) -> None:
        """Wait until no node is left, at ``since`` or later. Raises Unexpected if they stay."""
        while samples.nodes_gone(self.samples(), since) is None:
            if time.time() > since + LONGEST_IDLE_S:
                raise Unexpected(f"idle nodes were still there after {LONGEST_IDLE_S:.0f} s")
            time.sleep(0.5)
