"""The drills: what each does on its cluster, and what it saw. All that runs there is submitted."""

import time
from collections.abc import Callable

from ray_jobs.storage.attempts import ATTEMPTS
from ray_jobs.sweeps.trial_log import read_records
from ray_jobs.worker.gauges import GAUGES
from tests.clusters import samples
from tests.clusters.hosts import GATEWAY, Host, hosts
from tests.clusters.prometheus import Prometheus
from tests.clusters.samples import Event, Sample
from tests.clusters.submitting import Cluster
from tests.faults import analysis
from tests.faults.drills import MOMENT
from tests.faults.run import CHECKPOINT_EVERY, LOG_EVERY, OPTIONS, Run, Unexpected, kill_tree

TRIALS, AT_A_TIME = 8, 2
TINY = ("--steps", "50", "--checkpoint-every", "50", "--evaluate-every", "50", "--width", "64", "--num-blocks", "2")
BY_NAME_STEPS, HOSTS_STEPS = 1000, 2000
"""Long enough for a person to stop it, and for a cluster to notice that a host is gone, and that it is back."""
ENDLESS = (*OPTIONS, "--steps", "1000000", "--evaluate-every", "100")
LONGEST_LOOK_S = 120.0  # far more than Ray and Prometheus together take to collect


def _long(steps: int) -> tuple[str, ...]:
    return (*OPTIONS, "--steps", str(steps), "--evaluate-every", str(steps))


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
    cluster = Cluster(run, "autoscaled")
    began = cluster.submit_run("train", *OPTIONS, "--workers", "2")
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
    cluster.expect_no_secret_in_logs()
    run.expect(any(event.what == "another node" for event in seen), "no other node came")


def sweep(run: Run, seen: list[Event]) -> list[Sample]:
    """From no nodes: two trials at a time until all are over, and the nodes go."""
    cluster = Cluster(run, "autoscaled")
    options = ("--space", "alpha=fixed:{-2:2}", "--trials", str(TRIALS), "--max-concurrent", str(AT_A_TIME))
    began = cluster.submit_run("sweep", *options, *TINY, "--workers", "1")
    run.finish()
    ended = time.time()
    finished = sum(record.status == "finished" for record in read_records(run.store))
    run.expect(finished == TRIALS, f"{finished} of {TRIALS} trials finished")
    cluster.expect_no_secret_in_logs()
    cluster.wait_until_empty(ended)
    taken = [sample for sample in cluster.samples() if sample.time >= began]
    most = max(len(sample.used) for sample in taken)
    run.expect(most == AT_A_TIME, f"{most} nodes came for {AT_A_TIME} trials at a time")
    seen += [Event("command", began), *samples.sizes(taken), Event("all trials over", ended)]
    seen.sort(key=lambda event: event.time)
    return taken


def by_name(run: Run, seen: list[Event]) -> None:
    """A command that fails; a run that is stopped, resumed by name, killed, and resumed on other workers."""
    cluster = Cluster(run, "single")

    def end(what: str, status: int) -> None:
        found = run.wait()
        run.expect(found == status, f"{what}: submit ended with {found} and not with {status}: {run.last_line()}")
        seen.append(Event(f"{what}: status {found}", time.time()))

    seen.append(Event("a command that fails", cluster.submit("evaluate", f"{run.storage}/nothing")))
    end("failed", 2)
    seen.append(Event("train on 2 workers", cluster.submit_run("train", *_long(BY_NAME_STEPS), "--workers", "2")))
    run.wait_for_checkpoint(MOMENT)
    cluster.stop()
    end("stopped", 143)
    saved = run.newest()
    run.expect(f"stopped at step {saved}" in run.said(), f"saved step {saved}, and said: {run.last_line()}")
    seen.append(Event(f"resumed from step {saved}", time.time()))
    cluster.resume()
    run.wait_for_checkpoint(saved + MOMENT)
    run.fault(run.job_process().kill)
    seen.append(Event("its process is killed", run.fault_time or 0.0))
    end("killed", 137)
    seen.append(Event("resumed on 1 worker", time.time()))
    cluster.resume("--workers", "1")
    end("finished", 0)
    cluster.expect_no_secret_in_logs()
    _judge(run, BY_NAME_STEPS)


def host_cut_off(run: Run, seen: list[Event]) -> None:
    """Two hosts with one worker each; one is cut off, the other goes on; it comes back, and the run grows again."""
    with hosts(2) as pair:
        try:
            run.reach_store_at(GATEWAY)
            _cut_one_off(run, Cluster(run, "hosts", GATEWAY), pair, seen)
        finally:
            run.end()  # nothing may hold a host when it goes


def _cut_one_off(run: Run, cluster: Cluster, pair: list[Host], seen: list[Event]) -> None:
    def when(what: str, holds: Callable[[], bool]) -> None:
        run.wait_until(holds, what)
        seen.append(Event(what, time.time()))

    for host in pair:
        run.start_process(host.node(cluster.ray))
    run.wait_until(lambda: cluster.num_machines() == 3, "all machines")
    seen.append(Event("command", cluster.submit_run("train", *_long(HOSTS_STEPS), "--workers", "1:2")))
    when("training on two hosts", lambda: run.newest() >= MOMENT)
    cut = next(host for host in pair if host.holds(run.workers()[1].pid))
    run.fault(cut.cut_off)
    seen.append(Event("the second worker's host is cut off", run.fault_time or 0.0))
    when("the cluster counts it as gone", lambda: cluster.num_machines() == 2)
    when("training on one", lambda: _goes_on(run, workers=1))
    cut.join_again()
    seen.append(Event("the host is back", time.time()))
    when("the cluster counts it again", lambda: cluster.num_machines() == 3)
    when("training on two again", lambda: _goes_on(run, workers=2))
    run.finish()
    seen.append(Event("finished", time.time()))
    _judge(run, HOSTS_STEPS)


def _judge(run: Run, steps: int) -> None:
    """Every step is there in the end, and no more were done again than since the last checkpoint."""
    assert run.fault_time
    lines = analysis.logged(run.lines())
    missing = set(range(LOG_EVERY, steps + 1, LOG_EVERY)) - {line["step"] for line in lines}
    run.expect(not missing, f"{len(missing)} lines of metrics are missing")
    again = analysis.first_after(lines, run.fault_time)
    assert again
    resumed = analysis.resumed_step(lines, again)
    last = analysis.farthest_step(lines, run.committed_before, run.fault_time)
    lost = max(last, analysis.estimated_step(lines, run.fault_time, CHECKPOINT_EVERY)) - resumed
    run.expect(last - resumed <= CHECKPOINT_EVERY, f"had come to step {last} and went on from {resumed}")
    run.notes.append(f"about {max(0, lost)} steps lost of {last}")


def _goes_on(run: Run, workers: int) -> bool:
    """Whether the newest attempt has so many workers, and has done steps."""
    lines, newest = run.lines(), len(run.store.names(ATTEMPTS))
    return run.attempt()["workers"] == workers and bool(lines) and lines[-1]["attempt"] == newest


def gauges(run: Run) -> dict[str, list[str]]:
    """A run on a cluster that Prometheus watches; the values of each gauge that it has collected."""
    cluster = Cluster(run, "single")
    with Prometheus(run) as prometheus:
        cluster.submit_run("train", *ENDLESS, "--workers", "2")
        run.wait_for_checkpoint(MOMENT)
        deadline = time.monotonic() + LONGEST_LOOK_S
        found: dict[str, list[str]] = {}
        while set(found) < set(GAUGES) and time.monotonic() < deadline:
            found = {name: values for name in GAUGES if (values := prometheus.values(f"ray_{name}", run.name))}
            time.sleep(1.0)
        cluster.stop()
    missing = set(GAUGES) - set(found)
    run.expect(not missing, f"Prometheus has not collected {', '.join(sorted(missing))}")
    return found
