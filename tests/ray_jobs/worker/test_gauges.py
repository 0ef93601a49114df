"""Gauges: what a run's events set, how long its work is unsaved, and that a real Ray exports them."""

import time
import urllib.request

import pytest

from aign.evaluation.result import Evaluation
from ray_jobs.worker import gauges
from ray_jobs.worker.events import CheckpointSaved, Evaluated, Progressed
from ray_jobs.worker.gauges import GAUGES, Gauges

SECONDS_FOR_AN_EXPORT = 300  # on a machine that is busy with other things


class Recorded:
    """A gauge that keeps what it was set to, by the tags that are its own."""

    made: dict[str, "Recorded"]

    def __init__(self, name, about, tags):
        self.tags, self.values = tags, {}
        Recorded.made[name] = self

    def set(self, value, tags):
        assert tuple(tags) == self.tags
        assert (tags["run"], tags["task"]) == ("a/run", "pose")
        self.values[tuple(tags.values())[2:]] = value


@pytest.fixture
def exported(monkeypatch):
    """Exports the gauges after events; gives what each was set to."""
    monkeypatch.setattr(Recorded, "made", {}, raising=False)
    own = Gauges("a/run", "pose", Recorded)

    def exported(*events):
        for event in events:
            own.show(event)
        own.export()
        return {name: gauge.values for name, gauge in Recorded.made.items()}

    return exported


def progress(step, updates, **terms):
    values = {**terms, "samples_per_second": 10.0 * step, "data_wait_share": 0.25}
    return Progressed(step=step, clock=step, stage="first", generator_updates=updates, values=values)


def evaluated(split, error_mm):
    return Evaluated(6, Evaluation(data="clips", split=split, num_samples=2, metrics={"error_mm": error_mm}))


def test_they_show_the_newest_numbers(exported):
    measured = (evaluated("validation", 3.0), evaluated("test", 4.0))
    found = exported(progress(2, 4, joints=1.0), progress(6, 6, joints=0.5), *measured)
    assert found["aign_step"] == {(): 6}
    assert found["aign_loss"] == {("joints",): 0.5}
    assert found["aign_validation_metric"] == {("error_mm",): 3.0}
    assert found["aign_generator_updates_per_step"] == {(): 0.5}
    assert found["aign_samples_per_second"] == {(): 60.0}
    assert found["aign_data_wait_share"] == {(): 0.25}
    assert found.keys() == GAUGES.keys()


def test_what_is_unsaved_counts_from_the_newest_checkpoint_that_arrived(exported, monkeypatch):
    now = time.monotonic()
    monkeypatch.setattr(gauges.time, "monotonic", lambda: now)
    exported(CheckpointSaved(100))
    now += 5
    found = exported(progress(120, 120))
    assert found["aign_seconds_since_checkpoint"] == {(): 5}
    assert found["aign_steps_since_checkpoint"] == {(): 20}
    exported(CheckpointSaved(110))
    now += 1
    found = exported()  # while nothing else happens, too
    assert found["aign_seconds_since_checkpoint"] == {(): 1}
    assert found["aign_steps_since_checkpoint"] == {(): 10}


def test_a_run_that_goes_on_has_no_updates_per_step_before_its_second_line(exported):
    assert exported(CheckpointSaved(100), progress(120, 240))["aign_generator_updates_per_step"] == {}
    assert exported(progress(140, 250))["aign_generator_updates_per_step"] == {(): 0.5}


@pytest.mark.ray
def test_ray_exports_every_gauge_again_and_again(ray_local):
    import ray

    @ray.remote(num_cpus=0)
    class Worker:
        def train(self):
            with Gauges("a/run", "pose") as own:
                own.show(progress(2, 2, joints=1.0))
                own.show(progress(4, 4, joints=1.0))
                own.show(evaluated("validation", 3.0))
                time.sleep(SECONDS_FOR_AN_EXPORT)

    worker = Worker.remote()
    worker.train.remote()
    try:
        node = ray.nodes()[0]
        endpoint = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        wanted = {f"ray_{name}" for name in GAUGES}
        deadline, found = time.monotonic() + SECONDS_FOR_AN_EXPORT, set()
        while found != wanted and time.monotonic() < deadline:
            time.sleep(0.5)
            lines = urllib.request.urlopen(endpoint, timeout=SECONDS_FOR_AN_EXPORT).read().decode().splitlines()
            found = {line.partition("{")[0] for line in lines if 'run="a/run"' in line and 'task="pose"' in line}
        assert found == wanted
    finally:
        ray.kill(worker)
