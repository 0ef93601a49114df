"""A sweep's report: one HTML page that holds its pictures and its table, readable without a cluster."""

import base64
import contextlib
import html
import io
from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from aign.tasks.base import readable
from ray_jobs.console import spread
from ray_jobs.storage import StoreAway
from ray_jobs.sweeps import plots
from ray_jobs.sweeps.book import Record, table
from ray_jobs.sweeps.plan import Sweep
from ray_jobs.sweeps.results import described, front, groups, ranked, repeating

MOST_PICTURES = 12
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
img { max-width: 100%; margin: .5rem 0 }
.strip { display: flex; gap: 1rem; overflow-x: auto }
figure { margin: 0; flex: 0 0 24rem }
figcaption { font-size: 13px }
pre { background: #f4f4f4; padding: .8rem; overflow-x: auto; white-space: pre-wrap }
"""


def write_report(sweep: Sweep, records: Sequence[Record], put: Callable[[str, bytes], None]) -> None:
    """Put report.html and its pictures as PNG files into the sweep's folder."""
    pictures = {}
    for title, figure in draw(sweep, records).items():
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=110)
        pictures[title] = image.getvalue()
        put(f"report/{title.replace(' ', '_')}.png", image.getvalue())
    put("report.html", page(sweep, records, pictures).encode())


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


def page(sweep: Sweep, records: Sequence[Record], pictures: dict[str, bytes]) -> str:
    """The page, with everything in it."""
    options, done = sweep.options, ranked(sweep, records)
    how = f"{options.search}" + (f" with {options.scheduler}" if options.scheduler != "none" else "")
    on = done[0].measured_on if done else {}
    measured = f", measured on {on['data']}: {on['split']}, {on['num_samples']} samples" if on else ""
    better = "larger" if options.maximize else "smaller"
    counts = ", ".join(
        f"{sum(record.status == status for record in records)} {status}"
        for status in dict.fromkeys(record.status for record in records)
    )
    parts = [
        f"<h1>{html.escape(sweep.job.name)}</h1>",
        f"<p>Task {sweep.job.run.task}, preset {sweep.job.run.preset}, {sweep.job.run.training.steps} steps a trial, "
        f"{html.escape(how)}. Objective: {sweep.metric} ({better} is better){html.escape(measured)}. "
        f"{sweep.num_trials} trials planned: {counts or 'none begun'}.</p>",
        "<h2>searched</h2>" + _table(["option", "values"], _space_rows(sweep)),
    ]
    if done:
        parts += [
            f"<h2>best: trial {done[0].trial:03d}, {sweep.metric} {done[0].objective:.4g}</h2>",
            f"<pre>{html.escape(repeating(sweep, done[0]))}</pre>",
            f"<p>Its run: {html.escape(sweep.folder.uri)}/{done[0].run}</p>",
        ]
    if any(len(own) > 1 for _, own in groups(sweep, records)):
        parts += ["<h2>over seeds</h2>", _seeds_table(sweep, records)]
    if best_at_each := front(sweep, records):
        parts += [f"<h2>best at each {sweep.options.cost}</h2>", _front_table(sweep, best_at_each)]
    for title, image in pictures.items():
        parts.append(f"<h2>{title}</h2>{_image(title, image)}")
    with contextlib.suppress(StoreAway):  # all else is here, so the report follows later without them
        if strip := _pictures(sweep, done):
            parts += ["<h2>pictures</h2>", f"<div class=strip>{strip}</div>"]
    parts += ["<h2>all trials</h2>", table(records).to_html(index=False, border=0, na_rep="", float_format="%.4g")]
    title = html.escape(sweep.job.name)
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style>"
    return head + "\n".join(parts) + "</html>\n"


def _pictures(sweep: Sweep, done: Sequence[Record]) -> str:
    """The newest pictures of the best trials, side by side in the order in which they were tried."""
    shown = sorted(done[:MOST_PICTURES], key=lambda record: record.trial)
    parts = []
    for record in shown:
        folder = f"{record.run}/pictures"
        newest = max(sweep.folder.names(folder), default=None)
        if newest is None:
            continue
        values = "  ".join(f"{name} {value}" for name, value in described(record).items())
        caption = html.escape(f"{values}: {sweep.metric} {record.objective:.4g}")
        image = _image(caption, sweep.folder.read(f"{folder}/{newest}"))
        parts.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    return "".join(parts)


def _image(words: str, png: bytes) -> str:
    return f'<img alt="{words}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _space_rows(sweep: Sweep) -> list[list[str]]:
    return [[name, " | ".join(spellings)] for name, spellings in sweep.space.to_json().items()]


def _front_table(sweep: Sweep, records: Sequence[Record]) -> str:
    cost = sweep.options.cost
    assert cost is not None
    rows = [
        [
            f"{record.trial:03d}",
            readable(record.metrics[cost]),
            readable(record.objective or 0.0),
            repeating(sweep, record),
        ]
        for record in records
    ]
    return _table(["trial", cost, sweep.metric, "the command that repeats it"], rows)


def _seeds_table(sweep: Sweep, records: Sequence[Record]) -> str:
    rows = []
    for values, own in groups(sweep, records):
        spelled = "  ".join(f"{name}={value}" for name, value in values.items())
        rows.append([spelled, str(len(own)), spread([record.objective or 0.0 for record in own])])
    return _table(["values", "seeds", sweep.metric], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    heads = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    return f"<table><tr>{heads}</tr>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"
