"""Train presets on the same data and budget and set them side by side: ``python -m ray_jobs.compare TASK``.

All other options are those of ``train`` and hold for every preset. Each of them is a run of its own under
STORAGE/NAME; the same command goes on where it was stopped.
"""

import dataclasses
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.table import Table

from aign.errors import UserError
from aign.training.run_config import find_preset, find_task
from ray_jobs.console import Bars, run_command
from ray_jobs.job import Job
from ray_jobs.launch import launch, start_ray
from ray_jobs.options import parse, split_options
from ray_jobs.preflight import check
from ray_jobs.runs import read_export


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to compare."""

    presets: tuple[str, ...] = ()
    """Presets to compare; default: those the paper has a number for."""
    seeds: tuple[int, ...] = (0,)
    """Every preset is trained once with each."""
    concurrent: int = 1
    """Runs at a time."""
    json: Path | None = None
    """File to write all results to."""


@dataclass(frozen=True)
class Arm:
    """One preset and one seed."""

    preset: str
    seed: int
    job: Job


def command(argv: list[str]) -> None:
    options, rest = split_options(Options, argv, "aign compare")
    arms = plan(options, rest)
    for arm in arms:
        check(arm.job)
    results = run_arms(arms, options.concurrent)
    task = arms[0].job.run.task
    with Bars() as bars:
        for table in (summary_table(task, results), group_table(task, results)):
            bars.console.print(table)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


def plan(options: Options, rest: Sequence[str]) -> list[Arm]:
    """The runs of a comparison. The first ``rest`` is the task."""
    if "--preset" in rest or "--seed" in rest:
        raise UserError("--preset, --seed", "a comparison has several", "use --presets and --seeds")
    if not rest:
        raise UserError("no task", "a task comes first", "aign compare pose")
    kind = find_task(rest[0])
    presets = options.presets or tuple(reversed([name for name, p in kind.presets.items() if p.paper is not None]))
    arms = []
    name = None
    for preset in presets:
        find_preset(rest[0], preset)
        for seed in options.seeds:
            job = parse([*rest, "--preset", preset, "--seed", str(seed)], "compare").job
            name = name or job.placement.name or job.name.replace(f"-{preset}-", "-compare-")
            arms.append(Arm(preset, seed, dataclasses.replace(job, name=f"{name}/{preset}-seed{seed}")))
    return arms


def run_arms(arms: Sequence[Arm], concurrent: int) -> list[dict[str, Any]]:
    """Train what is not finished; what every arm measured last, in order."""
    unfinished = [arm for arm in arms if read_export(arm.job.folder) is None]
    if unfinished and unfinished[0].job.placement.workers:
        start_ray(unfinished[0].job, num_jobs=concurrent)
    with Bars() as bars, ThreadPoolExecutor(concurrent) as pool:
        running = [
            pool.submit(launch, arm.job, bars.run(arm.job.name, arm.job.run.training.steps).show) for arm in unfinished
        ]
        for run in running:
            run.result()
    return [_result(arm) for arm in arms]


def _result(arm: Arm) -> dict[str, Any]:
    export = read_export(arm.job.folder)
    assert export is not None, f"{arm.job.name} has finished without an export"
    return {
        "preset": arm.preset,
        "seed": arm.seed,
        "run": arm.job.folder.uri,
        **export["evaluation"],
        **export["progress"],
    }


def summary_table(task: str, results: Sequence[dict[str, Any]]) -> Table:
    """Metrics of every preset, mean and spread over seeds, ratios of the objective, and the paper's beside them."""
    kind = find_task(task)
    first = results[0]
    presets = list(dict.fromkeys(result["preset"] for result in results))
    num_seeds = len(results) // len(presets)
    title = f"{first['data']}: {first['split']}, {first['num_samples']} samples, {num_seeds} seeds (mean ± deviation)"
    table = Table(title=title, title_justify="left", title_style="")
    table.add_column("preset")
    for column in (*first["metrics"], f"ratio to {presets[0]}", "paper", "paper's ratio", "generator updates"):
        table.add_column(column.replace("_", " "), justify="right")
    values = {p: [r["metrics"][kind.objective] for r in results if r["preset"] == p] for p in presets}
    for preset in presets:
        own = [result for result in results if result["preset"] == preset]
        metrics = [_spread([result["metrics"][name] for result in own]) for name in first["metrics"]]
        paper, paper_first = kind.presets[preset].paper, kind.presets[presets[0]].paper
        table.add_row(
            preset,
            *metrics,
            f"{mean(values[preset]) / mean(values[presets[0]]):.3f}",
            f"{paper:.1f}" if paper else "",
            f"{paper / paper_first:.3f}" if paper and paper_first else "",
            f"{mean(result['generator_updates'] for result in own):.0f}",
        )
    for floor, metrics in first["floors"].items():
        table.add_row(
            f"floor: {floor}", *(f"{metrics[name]:.1f}" if name in metrics else "" for name in first["metrics"])
        )
    return table


def group_table(task: str, results: Sequence[dict[str, Any]]) -> Table:
    """The objective by group (action, sequence), mean over seeds."""
    objective = find_task(task).objective
    presets = list(dict.fromkeys(result["preset"] for result in results))
    groups = list(results[0]["groups"])
    table = Table("preset", *groups, title=objective.replace("_", " "), title_justify="left", title_style="")
    for preset in presets:
        own = [result["groups"] for result in results if result["preset"] == preset]
        table.add_row(preset, *(f"{mean(result[group][objective] for result in own):.1f}" for group in groups))
    return table


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


if __name__ == "__main__":
    run_command(command)
