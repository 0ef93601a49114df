"""What came of a sweep: its best trial, the command that repeats it, tables for the console."""

from collections.abc import Sequence
from statistics import mean

from rich.table import Table

from aign.evaluation.result import measured_on
from aign.trained import StoredEvaluation
from ray_jobs.cli.display import spread
from ray_jobs.runs.folder import read_export
from ray_jobs.sweeps.plan import Sweep
from ray_jobs.sweeps.trial_log import Record

SHOWN = 12
"""Trials, or groups of them, in the console's table."""


def ranked(sweep: Sweep, records: Sequence[Record]) -> list[Record]:
    """Trials that came to their end, best first."""
    done = [record for record in records if record.status == "finished" and record.objective is not None]
    return sorted(done, key=lambda record: record.objective or 0.0, reverse=sweep.options.maximize)


def front(sweep: Sweep, records: Sequence[Record]) -> list[Record]:
    """Finished trials that no other beats in both objective and cost, the dearest first."""
    cost = sweep.options.cost
    if cost is None:
        return []
    found: list[Record] = []
    for record in ranked(sweep, records):  # best objective first, so the next must be cheaper
        if not found or record.metrics[cost] < found[-1].metrics[cost]:
            found.append(record)
    return found


def repeating(sweep: Sweep, record: Record) -> str:
    """The command that repeats a trial as one run; for a path that no one run can take, where its network is.

    All members of a population begin with the same weights and see the same batches, so a path of fixed alphas is the
    schedule ``steps:...``, to the bit.
    """
    values = [segment["values"] for segment in record.path]
    changing = [name for name in values[0] if len({value[name] for value in values}) > 1]
    fixed = all(value[name].startswith("fixed:") for name in changing for value in values)
    if not fixed:
        return f"{', '.join(changing)} changed on the way, which no one command does: use {record.run}/export"
    total = sweep.job.run.training.steps
    points = {
        name: ",".join(
            f"{segment['clock'] / total!r}={segment['values'][name].removeprefix('fixed:')}" for segment in record.path
        )
        for name in changing
    }
    return sweep.command(values[-1] | {name: f"steps:{spelled}" for name, spelled in points.items()})


def tested(sweep: Sweep, record: Record) -> StoredEvaluation | None:
    """What a trial's network measured on the test split, which decided nothing; None if its run has no export."""
    export = read_export(sweep.folder / record.run)
    return export and export["test"]


def groups(sweep: Sweep, records: Sequence[Record]) -> list[tuple[dict[str, str], list[Record]]]:
    """Finished trials that differ in the seed only, best mean first."""
    found: dict[tuple[tuple[str, str], ...], list[Record]] = {}
    for record in ranked(sweep, records):
        values = {name: value for name, value in described(record).items() if name != "seed"}
        found.setdefault(tuple(values.items()), []).append(record)
    return sorted(
        ((dict(values), own) for values, own in found.items()),
        key=lambda group: mean(record.objective or 0.0 for record in group[1]),
        reverse=sweep.options.maximize,
    )


def described(record: Record) -> dict[str, str]:
    """A trial's values, those of all segments of its path."""
    values = [segment["values"] for segment in record.path]
    return {name: " → ".join(dict.fromkeys(value[name] for value in values)) for name in values[0]} if values else {}


def summary_table(sweep: Sweep, records: Sequence[Record]) -> Table:
    """The best trials, over seeds where seeds are searched, with what they were measured on."""
    found = groups(sweep, records)
    best = ranked(sweep, records)
    on = best[0].measured_on if best else {}
    title = measured_on(on) if on else "no trial has finished"
    table = Table(title=title, title_justify="left", title_style="")
    names = [name for name in sweep.space.options if name != "seed"]
    for name in names:
        table.add_column(name)
    metrics = list(best[0].metrics) if best else []
    for name in ("trials", *metrics):
        table.add_column(name.replace("_", " "), justify="right")
    for values, own in found[:SHOWN]:
        cells = [spread([record.metrics[name] for record in own]) for name in metrics]
        table.add_row(*(values.get(name, "") for name in names), str(len(own)), *cells)
    return table


def line(sweep: Sweep, record: Record) -> str:
    """One line about where a trial is."""
    values = "  ".join(f"{name} {value}" for name, value in (record.path[-1]["values"] if record.path else {}).items())
    measured = "" if record.objective is None else f"  {sweep.metric} {record.objective:.4g}"
    reason = f"  {record.reason}" if record.reason else ""
    return f"trial {record.trial:03d}  {record.status}  step {record.step}{measured}  {values}{reason}"
