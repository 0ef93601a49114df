"""What a run tells, as metrics of its Ray cluster, for Prometheus and Grafana (``cluster/grafana_dashboard.json``).

Ray exports each as ``ray_NAME`` and forgets one that was not set for some seconds, so all of them are set again and
again: those that are gone belong to a run that is gone.
"""

import threading
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

from ray.util.metrics import Gauge

from ray_jobs.worker.best_effort import harmless
from ray_jobs.worker.events import MACHINE_METRICS, CheckpointSaved, Evaluated, Event, Progressed

TAGS = ("run", "task")
GAUGES = {
    "aign_step": "Steps done",
    "aign_loss": "A loss term, or what it learns: mean since the last line of metrics",
    "aign_validation_metric": "A metric of the newest evaluation on the validation split",
    "aign_generator_updates_per_step": "What the update rule decides: mean since the last line of metrics",
    "aign_samples_per_second": "Samples of all workers per second",
    "aign_data_wait_share": "Share of the time in which the first worker waits for data",
    "aign_seconds_since_checkpoint": "Seconds since a checkpoint arrived in storage, or since this attempt began",
    "aign_steps_since_checkpoint": "Steps since that checkpoint: what would have to be done again",
}
"""What each one means."""
OWN_TAG = {"aign_loss": "term", "aign_validation_metric": "metric"}
"""What several values of one gauge differ in."""
SECONDS_BETWEEN_EXPORTS = 5.0


class Gauges:
    """The gauges of one run, on its first worker, while this is entered. A step only writes down numbers."""

    def __init__(self, run: str, task: str, make: Callable[..., Any] = Gauge) -> None:
        """``make`` makes a Ray metric, in tests another one."""
        self._make = make
        self._tags = {"run": run, "task": task}
        self._values: dict[tuple[str, str], float] = {}
        self._step = self._updates = 0
        self._saved_step, self._saved_at = 0, time.monotonic()
        self._changing = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._export_again, name="gauges", daemon=True)

    def __enter__(self) -> "Gauges":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def show(self, event: Event) -> None:
        """Take over what an event tells. From any thread."""
        with self._changing:
            match event:
                case Progressed():
                    self._progress(event)
                case Evaluated(_, evaluation) if evaluation.split == "validation":
                    metrics = evaluation.metrics
                    self._values |= {("aign_validation_metric", name): value for name, value in metrics.items()}
                case CheckpointSaved():
                    self._saved_step, self._saved_at = event.step, time.monotonic()

    def _progress(self, event: Progressed) -> None:
        step, updates = event.step, event.generator_updates
        if self._step:  # not of the first line: of a run that goes on it is not known how far it was
            self._values["aign_generator_updates_per_step", ""] = (updates - self._updates) / (step - self._step)
        self._step, self._updates = step, updates
        self._values["aign_step", ""] = step
        for name, value in event.values.items():
            self._values[(f"aign_{name}", "") if name in MACHINE_METRICS else ("aign_loss", name)] = value

    def export(self) -> None:
        """Set every gauge that there is a value for."""
        with self._changing:
            values = dict(self._values)
            values["aign_seconds_since_checkpoint", ""] = time.monotonic() - self._saved_at
            values["aign_steps_since_checkpoint", ""] = max(0, self._step - self._saved_step)
        for (name, part), value in values.items():
            self._gauges[name].set(value, self._tags | dict.fromkeys(_own_tags(name), part))

    @cached_property
    def _gauges(self) -> dict[str, Any]:
        return {name: self._make(name, about, TAGS + _own_tags(name)) for name, about in GAUGES.items()}

    def _export_again(self) -> None:
        export = harmless("setting the gauges", self.export)
        while not self._over.wait(SECONDS_BETWEEN_EXPORTS):
            export()


def _own_tags(name: str) -> tuple[str, ...]:
    return (OWN_TAG[name],) if name in OWN_TAG else ()
