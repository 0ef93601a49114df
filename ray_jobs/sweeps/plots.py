"""Pictures of a sweep. Colour is the objective everywhere: dark is better; grey trials did not finish."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ray_jobs.reports.plots import tidy, words
from ray_jobs.sweeps.plan import Sweep
from ray_jobs.sweeps.space import RANGE
from ray_jobs.sweeps.trial_log import Record

COLORS = colormaps["viridis"]
UNFINISHED = "0.75"
JITTER = 0.12
METRICS_IN_ROW = 3


@dataclass(frozen=True)
class Coordinate:
    """An axis of a space."""

    option: str
    number: int | None
    """Which of the numbers in the option's spelling; None: the option's value."""
    label: str


def curves(sweep: Sweep, records: Sequence[Record]) -> Figure:
    """The objective of every trial by step."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    color = _colors(sweep, records)
    for record in records:
        history = np.array([point for point in record.history if np.isfinite(point[1])])
        if len(history):
            axes.plot(*history.T, color=color(record), marker=".", linewidth=1.2)
    axes.set(xlabel="step", ylabel=words(sweep.metric))
    tidy(axes)
    return figure


def front(sweep: Sweep, records: Sequence[Record], best: Sequence[Record]) -> Figure:
    """The objective of finished trials against their cost, and a line through those that are best at their cost."""
    cost = sweep.options.cost
    assert cost is not None
    done = [record for record in records if record.status == "finished" and record.objective is not None]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(
        [record.metrics[cost] for record in done], [record.objective or 0.0 for record in done], c="0.75", s=30
    )
    along = [(record.metrics[cost], record.objective or 0.0) for record in best]
    axes.plot(*zip(*along, strict=True), color=COLORS(0.25), marker="o", drawstyle="steps-pre")
    for record, place in zip(best, along, strict=True):
        axes.annotate(f"{record.trial}", place, xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set(xlabel=words(cost), ylabel=words(sweep.metric))
    tidy(axes)
    return figure


def against_each_option(sweep: Sweep, records: Sequence[Record]) -> Figure:
    """The objective of finished trials against the value of every option: a range is an axis, spellings are columns."""
    found = coordinates(sweep)
    figure = Figure(figsize=(8, 3.2 * len(found)), layout="constrained")
    for coordinate, axes in zip(found, np.atleast_1d(figure.subplots(len(found))), strict=True):
        _against(axes, sweep, records, coordinate, sweep.metric)
    return figure


def every_metric(sweep: Sweep, records: Sequence[Record], coordinate: Coordinate) -> Figure:
    """All metrics of finished trials against the value of one option."""
    metrics = list(dict.fromkeys(metric for record in records for metric in record.metrics))
    num_rows = -(-len(metrics) // METRICS_IN_ROW)
    figure = Figure(figsize=(8, 2.4 * num_rows), layout="constrained")
    panels = list(figure.subplots(num_rows, METRICS_IN_ROW).flat)
    for metric, axes in zip(metrics, panels, strict=False):
        _against(axes, sweep, records, coordinate, metric)
    for axes in panels[len(metrics) :]:
        axes.set_axis_off()
    return figure


def _against(axes: Axes, sweep: Sweep, records: Sequence[Record], where: Coordinate, metric: str) -> None:
    """A metric of finished trials against the value of an option; a line joins means where nothing else differs."""
    done = [record for record in records if record.status == "finished" and metric in record.metrics]
    places, labels, log = _places(sweep, where, done)
    values = np.array([record.metrics[metric] for record in done], dtype=float)
    different, color = np.unique(places), _colors(sweep, records)
    if alone(sweep) == where:
        axes.plot(different, [values[places == place].mean() for place in different], color="0.8", zorder=0)
    crowded = labels and len(different) < len(places)
    jitter = JITTER * np.random.default_rng(0).uniform(-1, 1, len(places)) if crowded else 0.0
    axes.scatter(places + jitter, values, c=[color(record) for record in done] or None, s=36)
    if labels:
        turned = max(map(len, labels)) > 12
        axes.set_xticks(range(len(labels)), labels, rotation=20 if turned else 0, ha="right" if turned else "center")
    if log:
        axes.set_xscale("log")
    axes.set(xlabel=where.label, ylabel=words(metric))
    tidy(axes)


def parallel_coordinates(sweep: Sweep, records: Sequence[Record]) -> Figure:
    """A line for each finished trial through its options to its objective."""
    done = [record for record in records if record.status == "finished" and np.isfinite(record.objective or np.inf)]
    found = [*coordinates(sweep), None]
    figure = Figure(figsize=(max(6, 2.2 * len(found)), 4.5), layout="constrained")
    axes = figure.subplots()
    heights = []
    for i, coordinate in enumerate(found):
        places, labels, log = _places(sweep, coordinate, done) if coordinate else (_objectives(done), [], False)
        values = np.log10(places) if log else places
        low, high = (values.min(), values.max()) if len(values) else (0, 1)
        heights.append((values - low) / (high - low) if high > low else np.full(len(values), 0.5))
        marks = [(text, k / max(1, len(labels) - 1) if len(labels) > 1 else 0.5) for k, text in enumerate(labels)]
        ends = [(f"{10**low if log else low:.3g}", 0.0), (f"{10**high if log else high:.3g}", 1.0)]
        for text, height in marks or (ends if high > low else [(ends[0][0], 0.5)]):
            axes.text(i + 0.02, height, f" {text}", va="center", fontsize=8, zorder=3)
        axes.axvline(i, color="0.6", linewidth=1)
    lines = [np.stack([np.arange(len(found)), own], -1) for own in np.array(heights).T]
    color = _colors(sweep, records)
    axes.add_collection(LineCollection(lines, colors=[color(record) for record in done], linewidths=1.6, alpha=0.85))
    axes.set(xlim=(-0.1, len(found) - 0.6), ylim=(-0.06, 1.06), yticks=[])
    axes.set_xticks(range(len(found)), [c.label if c else words(sweep.metric) for c in found])
    axes.spines[:].set_visible(False)
    return figure


def coordinates(sweep: Sweep) -> list[Coordinate]:
    """The axes of the space: its options, and of one whose spelling has several numbers each of them."""
    found = []
    for name, alternatives in sweep.space.options.items():
        several = len(alternatives) == 1 and len(alternatives[0].ranges) > 1
        if several:
            before = RANGE.split(alternatives[0].spelling)[:-1:2]  # what stands before each range
            found += [Coordinate(name, k, text.strip(" ,=") or name) for k, text in enumerate(before)]
        else:
            found.append(Coordinate(name, None, words(name)))
    return found


def alone(sweep: Sweep) -> Coordinate | None:
    """The one that is searched, beside the seed; None if there are several or none."""
    found = [coordinate for coordinate in coordinates(sweep) if coordinate.option != "seed"]
    return found[0] if len(found) == 1 else None


def paths(sweep: Sweep, records: Sequence[Record]) -> Figure:
    """How the numbers of a population's members went, by step: each line is one member's own line of descent."""
    names = [name for name in sweep.space.options if any(r.startswith(f"{name}.") for r in sweep.space.ranges)]
    figure = Figure(figsize=(8, 3.2 * len(names)), layout="constrained")
    color = _colors(sweep, records)
    ranked = sorted(records, key=lambda record: _badness(sweep, record), reverse=True)  # the best one on top
    for name, axes in zip(names, np.atleast_1d(figure.subplots(len(names))), strict=True):
        for record in ranked:
            if not record.path:
                continue
            clocks = [segment["clock"] for segment in record.path] + [record.clock]
            values = [_number(segment["values"][name]) for segment in record.path]
            best = record is ranked[-1]
            axes.stairs(values, clocks, color=color(record), linewidth=3 if best else 1.2, baseline=None)
        axes.set(xlabel="step", ylabel=words(name), title="bold: the best member's path")
        tidy(axes)
    return figure


def _objectives(records: Sequence[Record]) -> np.ndarray:
    return np.array([record.objective for record in records], dtype=float)


def _places(sweep: Sweep, where: Coordinate, records: Sequence[Record]) -> tuple[np.ndarray, list[str], bool]:
    """Where trials lie on an axis: numbers, perhaps logarithmic, or labelled columns; of a path where it ended."""
    name = where.option
    if where.number is not None:
        key = f"{name}.0.{where.number}"
        log = sweep.space.ranges[key].kind == "log"
        places = np.array([record.point[key] for record in records], dtype=float)
        return places, [], log and bool((places > 0).all())
    spellings = [record.path[-1]["values"][name] for record in records]
    numbers = [_number(spelling) for spelling in spellings]
    own = [interval for key, interval in sweep.space.ranges.items() if key.rsplit(".", 2)[0] == name]
    if own and None not in numbers:
        places = np.array(numbers, dtype=float)
        return places, [], all(interval.kind == "log" for interval in own) and bool((places > 0).all())
    labels = sorted(set(spellings), key=lambda text: (_number(text) is None, _number(text) or 0, text))
    return np.array([labels.index(spelling) for spelling in spellings], dtype=float), labels, False


def _number(spelling: str) -> float | None:
    """The number that a value is or ends with: of ``fixed:1.5`` 1.5."""
    try:
        return float(spelling.removeprefix("fixed:"))
    except ValueError:
        return None


def _colors(sweep: Sweep, records: Sequence[Record]):
    badness = [_badness(sweep, record) for record in records if record.status == "finished"]
    finite = [value for value in badness if np.isfinite(value)]
    scale = Normalize(min(finite), np.quantile(finite, 0.8)) if len(set(finite)) > 1 else Normalize(0, 1)

    def color(record: Record):
        bad = _badness(sweep, record)
        return COLORS(scale(bad)) if record.status == "finished" and np.isfinite(bad) else UNFINISHED

    return color


def _badness(sweep: Sweep, record: Record) -> float:
    if record.objective is None:
        return np.inf
    return -record.objective if sweep.options.maximize else record.objective
