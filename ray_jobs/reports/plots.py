"""Curves over steps as small multiples, and how axes look in all reports."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from aign.evaluation.pose_picture import FAINT_INK, FRAME, INK
from aign.evaluation.result import readable
from ray_jobs.reports.history import Curve

DOTS_PER_INCH = 110
MOST_POINTS = 200
"""Of a curve; a longer one is thinned to means, with its extremes as a band."""
POINTS_MARKED = 30
LOG_RANGE = 50.0
"""A positive curve whose largest value is so many times its smallest has a logarithmic axis."""
LARGEST_DRAWN = 1e100
IN_ROW = 3
PANEL_INCHES = (3.6, 2.1)
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#1f2730")
LINES = ("solid", "dashed", "dotted")

Line = tuple[str, str]
"""Color and kind of a line, as CSS too has them."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One of the small plots."""

    title: str
    curves: Sequence[Curve]
    lines: Sequence[Line] = ((COLORS[0], LINES[0]),)
    """How each curve is drawn."""
    levels: Mapping[str, float] = field(default_factory=dict)
    """Named values to compare with."""
    from_zero: bool = False
    """Where the size itself is what one looks at, not how it changes."""


def style(i: int) -> Line:
    """The line of the i-th run."""
    return COLORS[i % len(COLORS)], LINES[i // len(COLORS) % len(LINES)]


def as_png(figure: Figure) -> bytes:
    """A figure as a PNG file."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=DOTS_PER_INCH)
    return image.getvalue()


def small_multiples(panels: Sequence[Panel], stages: Sequence[tuple[str, int]] = ()) -> Figure:
    """The panels in rows; dotted lines where a stage ends and another begins."""
    rows = -(-len(panels) // IN_ROW)
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, wspace=0.03, hspace=0.03)
    figure = Figure(figsize=(PANEL_INCHES[0] * IN_ROW, PANEL_INCHES[1] * rows), layout=layout)
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(rows, IN_ROW, i + 1)
        _draw(axes, panel)
        for _, end in stages[:-1]:
            axes.axvline(end, color=FAINT_INK, linewidth=0.9, linestyle="dotted")
        if i + IN_ROW >= len(panels):
            axes.set_xlabel("step", size=8, color=FAINT_INK)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    for curve, (color, line) in zip(panel.curves, panel.lines, strict=True):
        steps, middle, low, high = thinned(curve)
        marker = "." if len(steps) <= POINTS_MARKED else ""
        axes.plot(steps, middle, color=color, linestyle=line, linewidth=1.4, marker=marker, markersize=5)
        if len(steps) < len(curve[0]):
            axes.fill_between(steps, low, high, color=color, alpha=0.18, linewidth=0)
    for name, level in panel.levels.items():
        if not np.abs(level) < LARGEST_DRAWN:
            continue
        axes.axhline(level, color=FAINT_INK, linewidth=0.9, linestyle=(0, (4, 3)))
        place: dict = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right"}
        axes.annotate(name, (1, level), (-2, 2), size=6.5, color=FAINT_INK, **place)
    values = np.concatenate([_drawable(curve[1]) for curve in panel.curves])
    values = values[np.isfinite(values)]
    axes.margins(y=0.15 if panel.levels else 0.06)
    if panel.from_zero:
        axes.set_ylim(bottom=0)
    elif len(values) and values.min() > 0 and values.max() > LOG_RANGE * values.min():
        axes.set_yscale("log")
    axes.set_title(words(panel.title), loc="left", size=9, weight="bold", color=INK)
    if len(panel.curves) == 1 and len(values):
        axes.set_title(readable(panel.curves[0][1][-1]), loc="right", size=9, color=FAINT_INK)
    axes.tick_params(labelsize=7.5, color=FRAME, labelcolor=FAINT_INK)
    tidy(axes)


def thinned(curve: Curve, most: int = MOST_POINTS) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Steps, means, smallest and largest values of at most so many stretches of a curve, about as many points in each.

    A stretch with a value that is not finite is a gap.
    """
    steps, values = np.asarray(curve[0], dtype=float), _drawable(curve[1])
    stretches = np.array_split(values, min(most, len(values)))
    middles = [stretch.mean() for stretch in np.array_split(steps, len(stretches))]
    means, low, high = (np.array([reduce(part) for part in stretches]) for reduce in (np.mean, np.min, np.max))
    return np.array(middles), means, low, high


def _drawable(values: Sequence[float]) -> np.ndarray:
    """Values with NaN for those that no axis has room for."""
    found = np.asarray(values, dtype=float)
    return np.where(np.abs(found) < LARGEST_DRAWN, found, np.nan)


def words(name: str) -> str:
    """A name in code as a person reads it."""
    return name.replace("_", " ")


def tidy(axes: Axes) -> None:
    """A quiet grid, and no frame where nothing is read off."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FRAME)
