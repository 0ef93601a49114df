"""A sweep's report: one HTML page that holds its pictures and its table, readable without a cluster."""

import contextlib
from collections.abc import Callable, Sequence

from markupsafe import Markup
from matplotlib.figure import Figure

from aign.errors import UserError
from aign.evaluation.result import measured_on, readable
from aign.storage.errors import StoreAway
from ray_jobs.cli.display import spread
from ray_jobs.reports import page
from ray_jobs.reports.plots import as_png
from ray_jobs.reports.run_page import left_out, measured
from ray_jobs.reports.stored import Cost
from ray_jobs.sweeps import plots
from ray_jobs.sweeps.cost import spent
from ray_jobs.sweeps.plan import Sweep
from ray_jobs.sweeps.results import described, front, groups, ranked, repeating, tested
from ray_jobs.sweeps.trial_log import Record, table

MOST_PICTURES = 12


def write_report(sweep: Sweep, records: Sequence[Record], put: Callable[[str, bytes], None]) -> None:
    """Put report.html and its pictures as PNG files into the sweep's folder."""
    drawings = drawn(sweep, records)
    for title, png in drawings.items():
        put(f"report/{title.replace(' ', '_')}.png", png)
    cost = None
    with contextlib.suppress(StoreAway, UserError):  # all else is here; what cannot be read now is not guessed
        cost = spent(sweep.folder)
    put("report.html", sweep_page(sweep, records, drawings, cost).encode())


def draw(sweep: Sweep, records: Sequence[Record]) -> dict[str, Figure]:
    """The pictures that a sweep has something for, by title."""
    found = {}
    done = ranked(sweep, records)
    if sweep.options.cost and done:
        found["front"] = plots.front(sweep, records, front(sweep, records))
    if done:
        found["objective by option"] = plots.against_each_option(sweep, records)
        found["parallel coordinates"] = plots.parallel_coordinates(sweep, records)
        if only := plots.alone(sweep):
            found[f"every metric by {only.label}"] = plots.every_metric(sweep, records, only)
    if sweep.options.scheduler == "pbt" and done:
        found["paths"] = plots.paths(sweep, records)
    if any(record.history for record in records):
        found["objective by step"] = plots.curves(sweep, records)
    return found


def drawn(sweep: Sweep, records: Sequence[Record]) -> dict[str, bytes]:
    """The same as PNG files."""
    return {title: as_png(figure) for title, figure in draw(sweep, records).items()}


def sweep_page(
    sweep: Sweep,
    records: Sequence[Record],
    drawings: dict[str, bytes],
    cost: Cost | None,
    price: float | None = None,
    skipped: Sequence[UserError] = (),
) -> str:
    """The page, with everything in it; ``price`` is that of a worker for an hour, in any currency."""
    done = ranked(sweep, records)
    parts = [
        page.cards(cost.rows(price)) if cost else "",
        page.text(_what_and_how(sweep, records)),
        page.heading("searched"),
        page.table(["option", "values"], _space_rows(sweep), words=2),
    ]
    if done:
        parts += [
            page.heading(f"best: trial {done[0].trial:03d}, {sweep.metric} {done[0].objective:.4g}"),
            page.code(repeating(sweep, done[0])),
            page.text(f"Its run: {sweep.folder.uri}/{done[0].run}"),
        ]
    if any(len(own) > 1 for _, own in groups(sweep, records)):
        parts += [page.heading("over seeds"), _seeds_table(sweep, records)]
    if best_at_each := front(sweep, records):
        parts += [page.heading(f"best at each {sweep.options.cost}"), _front_table(sweep, best_at_each)]
    for title, png in drawings.items():
        parts += [page.heading(title), page.plot_picture(title, png)]
    with contextlib.suppress(StoreAway):  # all else is here, so the report follows later without these
        if done and (test := tested(sweep, done[0])):
            parts += [page.heading(f"trial {done[0].trial:03d} on the test split"), measured(test)]
        if newest := _pictures(sweep, done):
            parts += [page.heading("pictures"), page.pictures(newest)]
    trials = Markup(table(records).to_html(index=False, border=0, na_rep="", float_format="%.4g"))  # escapes text
    parts += [page.heading("all trials"), page.framed(trials), *left_out(skipped)]
    return page.page(sweep.job.name, parts)


def _what_and_how(sweep: Sweep, records: Sequence[Record]) -> str:
    options, done = sweep.options, ranked(sweep, records)
    how = f"{options.search}" + (f" with {options.scheduler}" if options.scheduler != "none" else "")
    on = done[0].measured_on if done else {}
    measured = f", measured on {measured_on(on)}" if on else ""
    better = "larger" if options.maximize else "smaller"
    counts = ", ".join(
        f"{sum(record.status == status for record in records)} {status}"
        for status in dict.fromkeys(record.status for record in records)
    )
    return (
        f"Task {sweep.job.run.task}, preset {sweep.job.run.preset}, {sweep.job.run.training.steps} steps a trial, "
        f"{how}. Objective: {sweep.metric} ({better} is better){measured}. "
        f"{sweep.num_trials} trials planned: {counts or 'none begun'}."
    )


def _pictures(sweep: Sweep, done: Sequence[Record]) -> list[tuple[str, bytes]]:
    """The newest pictures of the best trials, in the order in which they were tried, with their words."""
    shown = sorted(done[:MOST_PICTURES], key=lambda record: record.trial)
    found = []
    for record in shown:
        folder = f"{record.run}/pictures"
        newest = max(sweep.folder.names(folder), default=None)
        if newest is None:
            continue
        values = "  ".join(f"{name} {value}" for name, value in described(record).items())
        caption = f"{values}: {sweep.metric} {record.objective:.4g}"
        found.append((caption, sweep.folder.read(f"{folder}/{newest}")))
    return found


def _space_rows(sweep: Sweep) -> list[list[str]]:
    return [[name, " | ".join(spellings)] for name, spellings in sweep.space.to_json().items()]


def _front_table(sweep: Sweep, records: Sequence[Record]) -> str:
    cost = sweep.options.cost
    assert cost is not None
    rows = [
        [repeating(sweep, one), f"{one.trial:03d}", readable(one.metrics[cost]), readable(one.objective or 0.0)]
        for one in records
    ]
    return page.table(["the command that repeats it", "trial", cost, sweep.metric], rows)


def _seeds_table(sweep: Sweep, records: Sequence[Record]) -> str:
    rows = []
    for values, own in groups(sweep, records):
        spelled = "  ".join(f"{name}={value}" for name, value in values.items())
        rows.append([spelled, str(len(own)), spread([record.objective or 0.0 for record in own])])
    return page.table(["values", "seeds", sweep.metric], rows)
