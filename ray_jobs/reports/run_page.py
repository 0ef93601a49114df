"""The page of one run: what it is, how it stands, what it measured, its curves and pictures, what it cost."""

import json
from collections.abc import Mapping, Sequence
from statistics import mean, median
from typing import Any

from aign.errors import UserError
from aign.evaluation.result import cells_of, columns_of, measured_on, readable
from aign.training.run_config import find_task
from ray_jobs.reports import page
from ray_jobs.reports.plots import Panel, small_multiples, words
from ray_jobs.reports.stored import StoredRun, duration

MOST_PICTURES = 6
MOST_EXAMPLES = 5


def run_page(run: StoredRun, price: float | None) -> str:
    """The whole page; ``price`` is that of a worker for an hour, in any currency."""
    parts = [page.status(*run.status()), _cards(run, price), page.heading("what it is"), _facts(run)]
    if run.history.evaluation:
        parts += [page.heading("metrics"), measured(run.history.evaluation)]
    parts += _curves(run)
    if pictures := run.pictures(MOST_PICTURES):
        parts.append(page.heading("pictures over time"))
        parts.append(page.pictures([(f"step {step}", png) for step, png in pictures]))
    parts += [page.heading("attempts and cost"), *_attempts(run, price)]
    options = page.facts(list(flat(run.config).items()))
    parts += [page.heading("configuration"), page.folded("all options", options)]
    return page.page(run.name, [*parts, *left_out(run.skipped)])


def left_out(skipped: Sequence[UserError]) -> list[str]:
    """What could not be read and is not on the page: how much, and examples."""
    if not skipped:
        return []
    count = page.text(f"{len(skipped)} could not be read and are left out, such as:")
    examples = [[str(error.value), error.reason] for error in skipped[:MOST_EXAMPLES]]
    return [page.heading("left out"), count, page.table(["place", "reason"], examples, words=2)]


def _cards(run: StoredRun, price: float | None) -> str:
    history, found = run.history, [("steps", str(run.history.step))]
    objective = find_task(run.config["task"]).selection_metric
    if history.evaluation and objective in history.evaluation["metrics"]:
        found.append((words(objective), readable(history.evaluation["metrics"][objective])))
    if history.logged:
        found.append(("generator updates", str(history.logged[-1]["generator_updates"])))
        machine = history.machine()
        found.append(("samples a second", f"{median(machine['samples_per_second'][1]):,.0f}"))
        found.append(("time waiting for data", f"{mean(machine['data_wait_share'][1]):.1%}"))
    return page.cards(found + run.cost.rows(price))


def _facts(run: StoredRun) -> str:
    config, training = run.config, run.config["training"]
    rows = [
        ("task", config["task"]),
        ("preset", config["preset"]),
        ("data", config["metadata"]["data"]),
        ("length", f"{training['steps']} steps, {training['batch_size']} samples in each, seed {training['seed']}"),
        ("stages", ", ".join(f"{stage} to step {end}" for stage, end in run.history.stages()) or "none begun"),
        ("generator updates", _rule(training)),
        ("begun with", config.get("init_from") or "fresh weights"),
        ("versions", ", ".join(f"{name} {version}" for name, version in config["versions"].items())),
        ("folder", run.folder.uri),
    ]
    return page.facts(rows)


def _rule(training: Mapping[str, Any]) -> str:
    if training["update_rule"] == "paper":
        return f"the paper's rule: theta_d {training['theta_d']}, theta_g {training['theta_g']}"
    return "one a step" if training["update_rule"] == "always" else f"one every {training['ratio']} steps"


def measured(evaluation: Mapping[str, Any]) -> str:
    """What was measured, beside its baselines, and on what; groups are folded."""
    columns, groups = columns_of(evaluation), evaluation["groups"]
    rows = [[words(name), *cells] for name, *cells in cells_of(evaluation)]
    found = page.text(f"Measured on {measured_on(evaluation)}.", "faint")
    found += page.table(["metric", *columns], rows)
    if groups:
        names = list(next(iter(groups.values())))
        parts = [
            [group, *(readable(values[name]) if name in values else "" for name in names)]
            for group, values in groups.items()
        ]
        found += page.folded("by group", page.table(["group", *map(words, names)], parts))
    return found


def _curves(run: StoredRun) -> list[str]:
    history, parts = run.history, []
    baselines = history.validated[-1][1]["baselines"] if history.validated else {}
    metrics = [
        Panel(
            title=name,
            curves=[curve],
            levels={baseline: own[name] for baseline, own in baselines.items() if name in own},
        )
        for name, curve in history.metrics().items()
    ]
    terms = [Panel(title=name, curves=[curve]) for name, curve in history.terms().items()]
    machine = [Panel(title=name, curves=[curve], from_zero=True) for name, curve in history.machine().items()]
    updates = Panel(title="generator updates per step", curves=[history.updates_per_step()], from_zero=True)
    note = page.text("Dotted: a stage ends, and the next one begins.", "faint") if len(history.stages()) > 1 else ""
    for title, panels in (
        ("metrics of the validation split over steps", metrics),
        ("loss terms over steps", terms),
        ("update rule and speed", [updates, *machine] if machine else []),
    ):
        if panels:
            figure = small_multiples(panels, history.stages())
            parts += [page.heading(title), note, page.plot(", ".join(panel.title for panel in panels), figure)]
    return parts


def _attempts(run: StoredRun, price: float | None) -> list[str]:
    rows = [
        [
            str(attempt.number),
            page.moment(attempt.began),
            attempt.status,
            duration(3600 * attempt.hours),
            str(attempt.workers),
            f"{attempt.gpus:g}",
            "" if attempt.zero_stage is None else str(attempt.zero_stage),
            "none" if attempt.start_step is None else f"{attempt.start_step} to {attempt.last_step}",
            f"{attempt.hours * attempt.workers:.3g}",
        ]
        for attempt in run.attempts
    ]
    head = ["attempt", "began (UTC)", "status", "lasted", "workers", "GPUs", "ZeRO stage", "steps", "worker-hours"]
    total = ", ".join(f"{name}: {value}" for name, value in run.cost.rows(price))
    note = "" if all(a.ended for a in run.attempts) else " An attempt that has not ended counts up to its last metrics."
    failed = [page.text(f"Attempt {a.number} failed: {a.reason}") for a in run.attempts if a.status == "failed"]
    return [page.table(head, rows, words=3), *failed, page.text(f"In all {total}.{note}")]


def flat(config: Mapping[str, Any]) -> dict[str, str]:
    """All that decides a run, by the names of options."""
    found = {"task": config["task"], "preset": config["preset"], **config["options"], **config["training"]}
    found |= {name: config.get(name) for name in ("init_from", "compression")}
    found |= {name: value for name, value in config["placement"].items() if name not in ("storage", "name")}
    found |= {f"version of {name}": value for name, value in config["versions"].items()}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}
