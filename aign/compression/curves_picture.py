"""Curves of single layers, as in Figures 4 and 5 of Cascaded Projection."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure


def draw_curves(points: Sequence[Mapping[str, Any]], metric: str | None, whole: float | None) -> Figure:
    """Error of features, and the metric if there is one, against the part of a layer's channels that is gone.

    ``points`` have layer, share, error and perhaps the metric; ``whole`` is the metric of the network as it was.
    """
    names = ["error", *([metric] if metric else [])]
    figure = Figure(figsize=(6.0 * len(names), 4.2), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    layers = list(dict.fromkeys(point["layer"] for point in points))
    colors = colormaps["viridis"].resampled(len(layers)).colors  # type: ignore[attr-defined]
    for axes, name in zip(panels, names, strict=True):
        for layer, color in zip(layers, colors, strict=True):
            own = sorted((100 * (1 - point["share"]), point[name]) for point in points if point["layer"] == layer)
            axes.plot(*zip(*own, strict=True), marker=".", color=color, label=layer)
        axes.set(xlabel="channels of one layer that are gone, %", ylabel=name.replace("_", " "))
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("normalised error of features")
    panels[0].set_yscale("log")
    if whole is not None:
        panels[-1].axhline(whole, color="0.6", linestyle="--", linewidth=1, label="whole network")
    panels[-1].legend(title="the first layer is darkest", frameon=False, fontsize=8, bbox_to_anchor=(1.0, 1.0))
    return figure
