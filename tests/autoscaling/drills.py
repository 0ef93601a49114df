"""The drills: what each does to a cluster that begins without nodes, and what it saw."""

import json
import time
from subprocess import PIPE

from ray_jobs.sweeps.book import read_records
from tests.autoscaling import samples
from tests.autoscaling.samples import NODES_FILE, Event, Sample
from tests.faults.drills import MOMENT
from tests.faults.run import OPTIONS, Run, Unexpected, kill_tree

TRIALS, AT_A_TIME = 8, 2
TINY = ("--steps", "50", "--checkpoint-every", "50", "--evaluate-every", "50", "--width", "64", "--num-blocks", "2")
LONGEST_IDLE_S = 60.0  # far more than the cluster's idle timeout


class Cluster:
    """A cluster without nodes, in processes that end with ``run``."""

    def __init__(self, run: Run) -> None:
        self._folder = run.folder / "cluster"
        self._folder.mkdir()
        argv = ["-m", "tests.autoscaling.cluster", str(self._folder)]
        with (self._folder / "console.txt").open("w") as console:
            process = run.start_process(argv, stdout=PIPE, stderr=console, text=True)
        assert process.stdout
        said = process.stdout.readline()
        if not said:
            raise Unexpected("the cluster did not start")
        self.address = json.loads(said)["address"]

    def samples(self) -> list[Sample]:
        file = self._folder / NODES_FILE
        return samples.read(file.open()) if file.exists() else []

    def wait_until_empty(self, since: float) -> None:
        """Wait until no node is left, at ``since`` or later. Raises Unexpected if they stay."""
        while samples.nodes_gone(self.samples(), since) is None:
            if time.time() > since + LONGEST_IDLE_S:
                raise Unexpected(f"idle nodes were still there after {LONGEST_IDLE_S:.0f} s")
            time.sleep(0.5)


def submit(run: Run, cluster: Cluster, verb: str, *options: str) -> float:
    """Start the command of a job on the cluster; when that was."""
    began = time.time()
    argv = ["-m", f"ray_jobs.{verb}", "pose", *options, "--storage", run.storage, "--name", run.name]
    run.start_process(argv, address=cluster.address)
    return began


def kill_node_of_worker(run: Run, rank: int) -> str:
    """A machine goes with all that runs there, at once; its name."""
    raylet = run.workers()[rank].parent()
    if raylet is None or "raylet" not in raylet.name():
        raise Unexpected(f"a worker was started by {raylet}, which is no node")
    name = raylet.environ()["RAY_CLOUD_INSTANCE_ID"]
    kill_tree(raylet)
    return name


def timeline(run: Run, seen: list[Event]) -> None:
    """From no nodes: they come, a run trains, one of them is killed, another comes, the run ends, the nodes go."""
    cluster = Cluster(run)
    began = submit(run, cluster, "train", *OPTIONS, "--workers", "2")
    run.wait_for_checkpoint(MOMENT)
    killed: list[str] = []
    run.fault(lambda: killed.append(kill_node_of_worker(run, 1)))
    assert run.fault_time
    run.finish()
    ended = time.time()
    try:
        cluster.wait_until_empty(ended)
    finally:
        seen += samples.life(
            cluster.samples(), run.lines(), began=began, node=killed[0], when=run.fault_time, ended=ended
        )
    run.expect(any(event.what == "another node" for event in seen), "no other node came")


def sweep(run: Run, seen: list[Event]) -> list[Sample]:
    """From no nodes: two trials at a time until all are over, and the nodes go."""
    cluster = Cluster(run)
    options = ("--space", "alpha=fixed:{-2:2}", "--trials", str(TRIALS), "--max-concurrent", str(AT_A_TIME))
    began = submit(run, cluster, "sweep", *options, *TINY, "--workers", "1")
    run.finish()
    ended = time.time()
    finished = sum(record.status == "finished" for record in read_records(run.store))
    run.expect(finished == TRIALS, f"{finished} of {TRIALS} trials finished")
    cluster.wait_until_empty(ended)
    taken = [sample for sample in cluster.samples() if sample.time >= began]
    most = max(len(sample.used) for sample in taken)
    run.expect(most == AT_A_TIME, f"{most} nodes came for {AT_A_TIME} trials at a time")
    seen += [Event("command", began), *samples.sizes(taken), Event("all trials over", ended)]
    seen.sort(key=lambda event: event.time)
    return taken
