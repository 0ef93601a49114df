"""What samples of a cluster's nodes tell; nothing here touches a cluster."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.faults import analysis

NODES_FILE = "nodes.jsonl"


@dataclass(frozen=True)
class Sample:
    """The nodes at a time (s), and how many of its CPUs each has given to workers."""

    time: float
    used: Mapping[str, float]


@dataclass(frozen=True)
class Event:
    """Something that happened, and when (s)."""

    what: str
    time: float


def read(lines: Iterable[str]) -> list[Sample]:
    """From lines of JSON; the last may not be whole yet."""
    return [Sample(**json.loads(line)) for line in lines if line.endswith("\n")]


def life(
    samples: Sequence[Sample], lines: analysis.Metrics, *, began: float, node: str, when: float, ended: float
) -> list[Event]:
    """What happened to a run that began and ended at these times, and whose ``node`` was killed ``when``; in order.

    What has not happened is left out.
    """
    before = {name for sample in samples if sample.time <= when for name in sample.used}
    most = max((len(sample.used) for sample in samples if sample.time <= when), default=0)
    after = [sample for sample in samples if sample.time > when]
    resumed = analysis.first_after(lines, when)
    times: dict[str, float | None] = {
        "command": began,
        "first node": _first(samples, lambda used: len(used) > 0),
        "all nodes": _first(samples, lambda used: len(used) >= most > 0),
        "training": min((line["time"] for line in analysis.logged(lines)), default=None),
        "a node is killed": when,
        "the cluster counts it as gone": _first(after, lambda used: node not in used),
        "another node": _first(after, lambda used: bool(used.keys() - before)),
        "training again": resumed and resumed["time"],
        "job finished": ended,
        "nodes gone": nodes_gone(samples, ended),
    }
    return sorted((Event(what, time) for what, time in times.items() if time is not None), key=lambda e: e.time)


def sizes(samples: Sequence[Sample]) -> list[Event]:
    """How many nodes there are, whenever that changes."""
    counts = [(sample.time, len(sample.used)) for sample in samples]
    changed = [after for before, after in pairwise([(0.0, 0), *counts]) if before[1] != after[1]]
    return [Event(f"{count} node{'s' * (count != 1)}", time) for time, count in changed]


def nodes_gone(samples: Sequence[Sample], ended: float) -> float | None:
    """When the last node went after the job's end; None if one is there."""
    return _first([sample for sample in samples if sample.time >= ended], lambda used: not used)


def _first(samples: Sequence[Sample], holds: Any) -> float | None:
    return next((sample.time for sample in samples if holds(sample.used)), None)


def node_seconds(samples: Sequence[Sample]) -> float:
    """All nodes' time together, whether they had something to do or not: what a cloud's bill counts."""
    return sum((after.time - before.time) * len(before.used) for before, after in pairwise(samples))


def busy_seconds(samples: Sequence[Sample]) -> float:
    """The part of it that workers had."""
    return sum((after.time - before.time) * _busy(before) for before, after in pairwise(samples))


def idle_tail(samples: Sequence[Sample]) -> float:
    """From the end of the last work to the last node's going, in seconds."""
    worked = [i for i, sample in enumerate(samples) if _busy(sample)]
    if not worked:
        return 0.0
    rest = samples[worked[-1] + 1 :]
    return (_first(rest, lambda used: not used) or rest[-1].time) - rest[0].time if rest else 0.0


def _busy(sample: Sample) -> int:
    return sum(used > 0 for used in sample.used.values())
