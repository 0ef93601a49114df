"""The metrics of an evaluation, with what they were measured on. Imported by processes that have no need of PyTorch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Metrics with what they were measured on."""

    data: str
    split: str
    num_samples: int
    metrics: Mapping[str, float]
    """Averages by name, units in the names."""
    floors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The same metrics for predictors that have learnt nothing."""
    groups: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The same metrics for parts of the split (an action, a sequence)."""

    @classmethod
    def of_means(cls, measured: Mapping[str, Any], *, data: str, split: str) -> "Evaluation":
        """Means over samples: of what is measured by name, a tensor each, and of floors' numbers by ``FLOOR/NAME``."""
        by_owner: dict[str, dict[str, float]] = {"": {}}
        for path, values in measured.items():
            owner, _, name = path.rpartition("/")
            by_owner.setdefault(owner, {})[name] = values.double().mean().item()
        metrics = by_owner.pop("")
        num_samples = len(next(iter(measured.values())))
        return cls(data=data, split=split, num_samples=num_samples, metrics=metrics, floors=by_owner)


def readable(value: float, like: float | None = None) -> str:
    """A metric as people read it: three digits or, if it is large, tenths; or as many as ``like`` (a mean) has."""
    size = abs(value if like is None else like)
    tenths = not math.isfinite(size) or size >= 10 or size == 0
    return f"{value:.{1 if tenths else min(6, 2 - math.floor(math.log10(size)))}f}"
