"""A picture of a cluster's nodes over time."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from tests.clusters.samples import Event, Sample


def draw(taken: Sequence[Sample], seen: Sequence[Event], path: Path) -> None:
    """Nodes that are there, and those of them that work; ``seen`` begins at time zero."""
    began = seen[0].time
    times = [sample.time - began for sample in taken]
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(times, [len(s.used) for s in taken], step="post", color="0.8", label="nodes")
    axes.fill_between(
        times, [sum(used > 0 for used in s.used.values()) for s in taken], step="post", color="C0", label="busy"
    )
    axes.set(xlabel="seconds since the command", ylabel="nodes", xlim=(0, times[-1]))
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="upper left", frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
