"""What a run has logged and measured, read back from RUN/metrics."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from aign.errors import UserError
from ray_jobs.events import MACHINE_METRICS
from ray_jobs.storage import Store

READERS = 16
"""Parts that are read at a time: a long run in an object store has thousands of them."""
NO_TERMS = ("time", "step", "stage", "generator_updates", *MACHINE_METRICS)

Line = dict[str, Any]
Curve = tuple[list[int], list[float]]
"""Steps, and a value at each."""


def read_lines(run: Store) -> dict[int, list[Line]]:
    """All lines of metrics by attempt, in the order they were written. Raises UserError for a part that is damaged."""
    parts = run.names("metrics")
    with ThreadPoolExecutor(READERS) as pool:
        found: dict[int, list[Line]] = {}
        for part, lines in zip(parts, pool.map(partial(_read_part, run), parts), strict=True):
            found.setdefault(int(part.partition("-")[0]), []).extend(lines)
    return found


def newest_metrics(run: Store) -> Mapping[str, float]:
    """What a run measured last, from its newest parts; empty before it has. Raises UserError as ``read_lines``."""
    for part in reversed(run.names("metrics")):
        for line in reversed(_read_part(run, part)):
            if "evaluation" in line:
                return line["evaluation"]["metrics"]
    return {}


def _read_part(run: Store, part: str) -> list[Line]:
    try:
        return [json.loads(line) for line in run.read(f"metrics/{part}").splitlines()]
    except ValueError as error:
        raise UserError(f"{run.uri}/metrics/{part}", f"is not lines of JSON ({error})", "remove it") from None


@dataclass(frozen=True)
class History:
    """A run's lines as if it had never been interrupted."""

    logged: Sequence[Line]
    """A line for each interval of steps: the means of its loss terms, and the machine's numbers."""
    evaluated: Sequence[Line]

    @classmethod
    def of(cls, lines: Mapping[int, Sequence[Line]], start_steps: Mapping[int, int]) -> "History":
        """From the lines of all attempts; what an attempt does again, counts as it does it."""
        kept: list[Line] = []
        for attempt in sorted({*start_steps, *lines}):
            kept = [line for line in kept if line["step"] <= start_steps.get(attempt, 0)]
            kept += lines.get(attempt, [])
        return cls([line for line in kept if "evaluation" not in line], [line for line in kept if "evaluation" in line])

    @property
    def step(self) -> int:
        """How far it came, as far as is known."""
        return max((line["step"] for line in [*self.logged[-1:], *self.evaluated[-1:]]), default=0)

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """What was measured last."""
        return self.evaluated[-1]["evaluation"] if self.evaluated else None

    def terms(self) -> dict[str, Curve]:
        """Loss terms, and what they learn, by name."""
        return _curves((line["step"], {k: v for k, v in line.items() if k not in NO_TERMS}) for line in self.logged)

    def metrics(self) -> dict[str, Curve]:
        """Metrics of the test set, by name."""
        return _curves((line["step"], line["evaluation"]["metrics"]) for line in self.evaluated)

    def machine(self) -> dict[str, Curve]:
        """How fast it went."""
        return _curves((line["step"], {name: line[name] for name in MACHINE_METRICS}) for line in self.logged)

    def updates_per_step(self) -> Curve:
        """How many generator updates the update rule made: 0, 1 or 2 in each step, in the mean of each interval."""
        counts = [(0, 0), *((line["step"], line["generator_updates"]) for line in self.logged)]
        steps = [step for step, _ in counts[1:]]
        return steps, [(now[1] - before[1]) / (now[0] - before[0]) for before, now in pairwise(counts)]

    def stages(self) -> list[tuple[str, int]]:
        """The stages it has come through, and the step at which each ended or has come to."""
        ends = {line["stage"]: line["step"] for line in self.logged}
        return list(ends.items())


def _curves(points: Any) -> dict[str, Curve]:
    found: dict[str, Curve] = {}
    for step, values in points:
        for name, value in values.items():
            steps, numbers = found.setdefault(name, ([], []))
            steps.append(step)
            numbers.append(value)
    return found
