"""The metrics of an evaluation, with what they were measured on. Imported by processes that have no need of PyTorch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Split = Literal["validation", "test"]
"""``validation`` is for whatever chooses: the best checkpoint, sweeps, ranks. ``test`` is measured once, when a run has
ended, and by ``aign evaluate``."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Metrics of samples."""

    num_samples: int
    metrics: Mapping[str, float]
    """Averages by name, units in the names."""
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The same metrics for predictors that have learnt nothing."""
    groups: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The same metrics for parts of the samples (an action, a sequence)."""
    inductive: Mapping[str, float] = field(default_factory=dict)
    """The same metrics for other samples, which training never saw, where it saw the input of these without labels."""
    notes: str = ""
    """How they were measured, where that is not plain."""

    @classmethod
    def of_means(cls, measured: Mapping[str, Any]) -> "Summary":
        """Means over samples of tensors by metric, and for baselines by ``BASELINE/METRIC``."""
        by_owner: dict[str, dict[str, float]] = {"": {}}
        for path, values in measured.items():
            owner, _, name = path.rpartition("/")
            by_owner.setdefault(owner, {})[name] = values.double().mean().item()
        metrics = by_owner.pop("")
        num_samples = len(next(iter(measured.values())))
        return cls(num_samples=num_samples, metrics=metrics, baselines=by_owner)

    @classmethod
    def of_groups(cls, measured: Mapping[str, Any], group: Any, names: Sequence[str], of: str) -> "Summary":
        """Means of each group, and as metrics the means of those, so that every group counts the same.

        ``group`` (samples,) has the index into ``names`` of each sample; ``of`` says what the groups are.
        """
        parts = {
            names[index]: cls.of_means({name: values[group == index] for name, values in measured.items()})
            for index in sorted(set(group.tolist()))
        }
        some = next(iter(parts.values()))
        return cls(
            num_samples=len(group),
            metrics=_averages([part.metrics for part in parts.values()]),
            baselines={name: _averages([part.baselines[name] for part in parts.values()]) for name in some.baselines},
            groups={name: part.metrics for name, part in parts.items()},
            notes=f"macro mean over {of}",
        )


def _averages(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}


@dataclass(frozen=True, kw_only=True)
class Evaluation(Summary):
    """Metrics with what they were measured on."""

    data: str
    split: Split


def measured_on(evaluation: Mapping[str, Any]) -> str:
    """What metrics were measured on: data, split and how many samples. The evaluation is one as JSON."""
    notes = f", {evaluation['notes']}" if evaluation["notes"] else ""
    return f"{evaluation['data']}, {evaluation['split']} split, {evaluation['num_samples']} samples{notes}"


def columns_of(evaluation: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """The metrics of an evaluation as JSON, and all that stands beside them, by the heads of a table's columns."""
    inductive = {"inductive": evaluation["inductive"]} if evaluation["inductive"] else {}
    return {"inferred": evaluation["metrics"], **inductive, **evaluation["baselines"]}


def cells_of(evaluation: Mapping[str, Any]) -> list[list[str]]:
    """The rows of that table: each metric's name, and its value in each column, empty where there is none."""
    columns = columns_of(evaluation).values()
    return [
        [name, *(readable(values[name]) if name in values else "" for values in columns)]
        for name in evaluation["metrics"]
    ]


def readable(value: float, like: float | None = None) -> str:
    """A metric as people read it: three digits or, if it is large, tenths; or as many as ``like`` (a mean) has."""
    size = abs(value if like is None else like)
    tenths = not math.isfinite(size) or size >= 10 or size == 0
    return f"{value:.{1 if tenths else min(6, 2 - math.floor(math.log10(size)))}f}"
