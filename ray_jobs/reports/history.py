"""What a run has logged and measured, read back from RUN/metrics."""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, NotRequired

from pydantic import Field, FiniteFloat, NonNegativeInt
from typing_extensions import TypedDict

from aign.errors import UserError
from aign.storage.store import Store
from aign.stored import read_json
from aign.trained import StoredEvaluation
from ray_jobs.worker.events import MACHINE_METRICS

READERS = 16
"""Parts that are read at a time: a long run in an object store has thousands of them."""
NO_TERMS = ("time", "step", "stage", "generator_updates", *MACHINE_METRICS)

PART = re.compile(r"(\d{3,})-\d+\.jsonl")
NOT_A_LINE = "all other lines are read"

Curve = tuple[list[int], list[float]]
"""Steps, and a value at each."""
Skipped = list[UserError]
"""What could not be read of a run, a piece each; the rest of it is used."""


Step = Annotated[int, Field(ge=0, le=10**15)]


class Line(TypedDict):
    """One line of RUN/metrics: an evaluation, or the loss terms of an interval, by name, with its machine metrics."""

    time: FiniteFloat
    step: Step
    stage: NotRequired[str]
    generator_updates: NotRequired[NonNegativeInt]
    evaluation: NotRequired[StoredEvaluation]


def read_lines(run: Store, skipped: Skipped | None = None) -> dict[int, list[Line]]:
    """All lines of metrics by attempt, in the order they were written.

    A line that is damaged or no line of metrics, such as one that a crash cut short, is left out and put into
    ``skipped``.
    """
    skipped = [] if skipped is None else skipped
    parts = {name: match for name in run.names("metrics") if (match := PART.fullmatch(name))}
    with ThreadPoolExecutor(READERS) as pool:
        found: dict[int, list[Line]] = {}
        for match, lines in zip(parts.values(), pool.map(partial(_read_part, run, skipped), parts), strict=True):
            found.setdefault(int(match[1]), []).extend(lines)
    return found


def newest_metrics(run: Store) -> Mapping[str, float]:
    """What a run measured last, from its newest parts; empty before it has. Damaged lines are passed over."""
    parts = [name for name in run.names("metrics") if PART.fullmatch(name)]
    for part in reversed(parts):
        for line in reversed(_read_part(run, [], part)):
            if "evaluation" in line:
                return line["evaluation"]["metrics"]
    return {}


def _read_part(run: Store, skipped: Skipped, part: str) -> list[Line]:
    place = f"{run.uri}/metrics/{part}"
    try:
        content = run.read(f"metrics/{part}")
    except FileNotFoundError:
        return []  # a run that is at work has put it into a larger one
    except UserError as error:
        skipped.append(error)
        return []
    found: list[Line] = []
    for number, text in enumerate(content.splitlines(), start=1):
        try:
            found.append(_line(text, f"{place}, line {number}"))
        except UserError as error:
            skipped.append(error)
    return found


def _line(text: bytes, where: str) -> Line:
    line = read_json(text, where, Line, NOT_A_LINE)
    if "evaluation" in line:
        return line
    missing = [name for name in ("stage", "generator_updates", *MACHINE_METRICS) if name not in line]
    if missing:
        raise UserError(where, f"has no {missing[0]}", NOT_A_LINE)
    for name, value in line.items():
        if name != "stage" and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise UserError(where, f"{name[:80]!r} is not a number", NOT_A_LINE)
    return line


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
        logged = [line for line in kept if "evaluation" not in line]
        return cls(ascending(logged), [line for line in kept if "evaluation" in line])

    @property
    def step(self) -> int:
        """How far it came, as far as is known."""
        return max((line["step"] for line in [*self.logged[-1:], *self.evaluated[-1:]]), default=0)

    @property
    def evaluation(self) -> StoredEvaluation | None:
        """What was measured last: on the test split, if the run has come to its end."""
        return self.evaluated[-1]["evaluation"] if self.evaluated else None

    @property
    def validated(self) -> list[tuple[int, StoredEvaluation]]:
        """What was measured on the validation split, and at which steps."""
        found = [(line["step"], line["evaluation"]) for line in self.evaluated]
        return [(step, evaluation) for step, evaluation in found if evaluation["split"] == "validation"]

    def terms(self) -> dict[str, Curve]:
        """Loss terms, and what they learn, by name."""
        return _curves((line["step"], {k: v for k, v in line.items() if k not in NO_TERMS}) for line in self.logged)

    def metrics(self) -> dict[str, Curve]:
        """Metrics of the validation split, by name."""
        return _curves((step, evaluation["metrics"]) for step, evaluation in self.validated)

    def machine(self) -> dict[str, Curve]:
        """How fast it went."""
        return _curves((line["step"], {k: v for k, v in line.items() if k in MACHINE_METRICS}) for line in self.logged)

    def updates_per_step(self) -> Curve:
        """How many generator updates the update rule made: 0, 1 or 2 in each step, in the mean of each interval."""
        counts = [(0, 0), *((line["step"], line["generator_updates"]) for line in self.logged)]
        steps = [step for step, _ in counts[1:]]
        return steps, [(now[1] - before[1]) / (now[0] - before[0]) for before, now in pairwise(counts)]

    def stages(self) -> list[tuple[str, int]]:
        """The stages it has come through, and the step at which each ended or has come to."""
        ends = {line["stage"]: line["step"] for line in self.logged}
        return list(ends.items())


def ascending(logged: Sequence[Line]) -> list[Line]:
    """Lines of ever later steps: whatever stands between them was not written by a run."""
    found: list[Line] = []
    for line in logged:
        if line["step"] > (found[-1]["step"] if found else 0):
            found.append(line)
    return found


def _curves(points: Any) -> dict[str, Curve]:
    found: dict[str, Curve] = {}
    for step, values in points:
        for name, value in values.items():
            steps, numbers = found.setdefault(name, ([], []))
            steps.append(step)
            numbers.append(value)
    return found
