"""The page of several runs beside each other: what they measured, where their options differ, shared curves."""

from collections.abc import Mapping, Sequence
from typing import Any

from aign.errors import UserError
from aign.evaluation.result import measured_on, readable
from ray_jobs.reports import page
from ray_jobs.reports.history import Curve
from ray_jobs.reports.plots import Line, Panel, small_multiples, style, words
from ray_jobs.reports.run_page import flat, left_out
from ray_jobs.reports.stored import Cost, StoredRun

NEITHER = "–"


def comparison_page(
    title: str, runs: Sequence[StoredRun], price: float | None, note: str = "", skipped: Sequence[UserError] = ()
) -> str:
    """The whole page; ``note`` says what is no part of it, ``skipped`` which runs could not be read."""
    names, lines = [run.name for run in runs], [style(i) for i in range(len(runs))]
    total = Cost.of([attempt for run in runs for attempt in run.attempts])
    parts = [
        page.cards([("runs", str(len(runs))), *total.rows(price)]),
        page.text(note, "faint") if note else "",
        page.heading("how they stand"),
        _standing(runs, lines, price),
        page.heading("where their options differ"),
        _differences(runs, lines),
    ]
    if any(run.history.evaluation for run in runs):
        parts += [page.heading("metrics, as measured last"), *_metrics(runs, lines)]
    for title_of_part, curves in (
        ("metrics of the validation split over steps", [run.history.metrics() for run in runs]),
        ("loss terms over steps", [run.history.terms() for run in runs]),
        ("speed", [run.history.machine() for run in runs]),
    ):
        if panels := shared(curves, lines, from_zero=title_of_part == "speed"):
            drawn = page.plot(title_of_part, small_multiples(panels))
            parts += [page.heading(title_of_part), page.legend(names, lines), drawn]
    newest = [(f"{run.name}, step {step}", png) for run in runs for step, png in run.pictures(1)]
    if newest:
        parts += [page.heading("newest pictures"), page.pictures(newest)]
    return page.page(title, [*parts, *left_out([*skipped, *(error for run in runs for error in run.skipped)])])


def shared(curves: Sequence[Mapping[str, Curve]], lines: Sequence[Line], from_zero: bool = False) -> list[Panel]:
    """A panel for each curve that two runs or more have; every run keeps its line."""
    panels = []
    for name in dict.fromkeys(name for own in curves for name in own):
        those = [(own[name], line) for own, line in zip(curves, lines, strict=True) if name in own]
        if len(those) > 1:
            own_curves, own_lines = zip(*those, strict=True)
            panels.append(Panel(title=name, curves=own_curves, lines=own_lines, from_zero=from_zero))
    return panels


def _standing(runs: Sequence[StoredRun], lines: Sequence[Line], price: float | None) -> str:
    costs = [dict(run.cost.rows(price)) for run in runs]
    names = list(dict.fromkeys(name for own in costs for name in own))
    rows = [
        [run.name, *run.status(), run.config["task"], run.config["preset"], *(own.get(name, "0") for name in names)]
        for run, own in zip(runs, costs, strict=True)
    ]
    return page.table(["run", "status", "", "task", "preset", *names], rows, words=5, lines=lines)


def _differences(runs: Sequence[StoredRun], lines: Sequence[Line]) -> str:
    options = [flat(run.config) for run in runs]
    everything = dict.fromkeys(name for own in options for name in own)
    names = [name for name in everything if len({own.get(name) for own in options}) > 1]
    if not names:
        return page.text("Nowhere: they were started with the same options.")
    rows = [[run.name, *(own.get(name, NEITHER) for name in names)] for run, own in zip(runs, options, strict=True)]
    return page.table(["run", *map(words, names)], rows, lines=lines)


def _metrics(runs: Sequence[StoredRun], lines: Sequence[Line]) -> list[str]:
    """A table for all that was measured on the same: its runs, and its baselines."""
    tables: dict[str, list[tuple[StoredRun, Line, Mapping[str, Any]]]] = {}
    for run, line in zip(runs, lines, strict=True):
        if last := run.history.evaluation:
            tables.setdefault(measured_on(last), []).append((run, line, last))
    parts = []
    for on, found in tables.items():
        names = list(found[0][2]["metrics"])
        rows = [
            [run.name, str(run.history.evaluated[-1]["step"]), *_cells(last["metrics"], names)]
            for run, _, last in found
        ]
        rows += [
            [f"baseline: {baseline}", "", *_cells(own, names)] for baseline, own in found[0][2]["baselines"].items()
        ]
        table = page.table(["run", "step", *map(words, names)], rows, lines=[line for _, line, _ in found])
        parts += [page.text(f"Measured on {on}.", "faint"), table]
    return parts


def _cells(values: Mapping[str, float], names: Sequence[str]) -> list[str]:
    return [readable(values[name]) if name in values else "" for name in names]
