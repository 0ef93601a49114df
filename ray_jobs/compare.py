"""Train presets on the same data and budget and set them side by side: ``python -m ray_jobs.compare TASK``.

All other options are those of ``train`` and hold for every preset. Each of them is a run of its own under
STORAGE/NAME; the same command goes on where it was stopped.
"""

import dataclasses
import json
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from statistics import mean
from typing import Annotated, Any

from annotated_types import Ge, Le, MinLen
from rich.table import Table

from aign.command import make_console
from aign.errors import NotTrainable, UserError
from aign.evaluation.result import measured_on, readable
from aign.options import Seed
from aign.training.run_config import find_preset, find_task
from ray_jobs.cli.console import run_command
from ray_jobs.cli.display import Bars, spread
from ray_jobs.cli.options import DryRun, parse, split_options
from ray_jobs.cli.outputs import FileOption
from ray_jobs.cli.preflight import check, say_dry
from ray_jobs.launch.signals import StopSignal
from ray_jobs.launch.start import launch, start_ray
from ray_jobs.reports.estimate import estimate, to_do
from ray_jobs.runs.folder import finished_export, read_results
from ray_jobs.runs.job import Job
from ray_jobs.worker.best_effort import note
from ray_jobs.worker.events import Event
from ray_jobs.worker.stopped import Stopped


@dataclass(frozen=True, kw_only=True)
class Options(DryRun):
    """What to compare."""

    presets: tuple[str, ...] = ()
    """Presets to compare; default: those the paper has a number for, or if there are none all."""
    seeds: Annotated[tuple[Seed, ...], MinLen(1)] = (0,)
    """Every preset is trained once with each."""
    concurrent: Annotated[int, Ge(1), Le(1000)] = 1
    """Runs at a time."""
    json: FileOption | None = None
    """File to write all results to: a local path or s3:// URI."""


@dataclass(frozen=True)
class Arm:
    """One preset and one seed."""

    preset: str
    seed: int
    job: Job


def command(argv: list[str]) -> None:
    """Parse, check, run what is not finished, set it side by side; ``--dry-run`` stops after the checks."""
    options, rest = split_options(Options, argv, "aign compare")
    if options.json:
        options.json.check()
    say_once = cache(note)  # most of it holds for all arms
    arms = [dataclasses.replace(arm, job=check(arm.job, say_once)) for arm in plan(options, rest)]
    if options.dry_run:
        _say_dry(arms, options)
        return
    results = run_arms(arms, options.concurrent)
    task = arms[0].job.run.task
    tables = [summary_table(results), ratio_table(task, results)]
    for table in [*tables, group_table(task, results)] if results[0]["groups"] else tables:
        make_console().print(table)
    if options.json:
        options.json.write(json.dumps(results, indent=1).encode())


def plan(options: Options, rest: Sequence[str]) -> list[Arm]:
    """The runs of a comparison. The first ``rest`` is the task."""
    if "--preset" in rest or "--seed" in rest:
        raise UserError("--preset, --seed", "a comparison has several", "use --presets and --seeds")
    if not rest:
        raise UserError("no task", "a task comes first", "aign compare pose")
    kind = find_task(rest[0])
    in_paper = reversed([name for name, preset in kind.presets.items() if preset.paper is not None])
    presets = options.presets or tuple(in_paper) or tuple(kind.presets)
    arms = []
    name = None
    for preset in presets:
        find_preset(rest[0], preset)
        for seed in options.seeds:
            job = parse([*rest, "--preset", preset, "--seed", str(seed)], "compare").job
            name = name or job.placement.name or job.name.replace(f"-{preset}-", "-compare-")
            arms.append(Arm(preset, seed, dataclasses.replace(job, name=f"{name}/{preset}-seed{seed}")))
    return arms


def _say_dry(arms: Sequence[Arm], options: Options) -> None:
    works = [work for arm in arms for work in to_do(arm.job)]
    folder = arms[0].job.folder.uri.rpartition("/")[0]
    would = f"train {len(arms)} runs, {options.concurrent} at a time, and write {folder}"
    about = {"runs": [arm.job.to_json() for arm in arms]}
    say_dry(about, would, estimate(works, options.like, options.price_per_worker_hour))


def run_arms(arms: Sequence[Arm], concurrent: int) -> list[dict[str, Any]]:
    """Train what is not finished; what every arm measured last, in order."""
    unfinished = [arm for arm in arms if finished_export(arm.job) is None]
    with StopSignal() as stop, Bars() as bars, ThreadPoolExecutor(concurrent) as pool:
        if unfinished and unfinished[0].job.placement.workers:
            start_ray(unfinished[0].job, stop, num_jobs=concurrent)
        views = [bars.run(arm.job.name, arm.job.run.training.steps, f"{arm.job.name}  ") for arm in unfinished]
        running = [pool.submit(_launch, arm.job, view.show, stop) for arm, view in zip(unfinished, views, strict=True)]
        _wait(running)
    return [_result(arm) for arm in arms]


def _launch(job: Job, show: Callable[[Event], None], stop: StopSignal) -> None:
    """What breaks around one run would break others too: it ends all of them, saved."""
    try:
        launch(job, show, stop)
    except NotTrainable:
        raise
    except Exception:
        stop.signum = stop.signum or signal.SIGTERM
        raise


def _wait(running: Sequence[Future]) -> None:
    """Until all have ended. Raises the error that ended the others, or else the first."""
    errors = [error for run in running if (error := run.exception())]
    for error in sorted(errors, key=lambda error: isinstance(error, Stopped | NotTrainable)):
        raise error


def _result(arm: Arm) -> dict[str, Any]:
    export = read_results(arm.job)
    return {
        "preset": arm.preset,
        "seed": arm.seed,
        "run": arm.job.folder.uri,
        **export["test"],
        **vars(export["progress"]),
    }


def summary_table(results: Sequence[dict[str, Any]]) -> Table:
    """Metrics of every preset, mean and deviation over seeds, beside the baselines."""
    first = results[0]
    seeds = len({result["seed"] for result in results})
    title = f"{measured_on(first)}, {seeds} seeds (mean ± deviation)"
    table = Table("preset", title=title, title_justify="left", title_style="")
    for column in (*first["metrics"], "generator updates"):
        table.add_column(column.replace("_", " "), justify="right")
    for preset, own in _by_preset(results).items():
        updates = f"{mean(result['generator_updates'] for result in own):.0f}"
        for row, values in ((preset, "metrics"), (f"{preset}, inductive", "inductive")):
            if first[values]:
                table.add_row(row, *(spread([one[values][name] for one in own]) for name in first["metrics"]), updates)
    for baseline, metrics in first["baselines"].items():
        cells = [readable(metrics[name]) if name in metrics else "" for name in first["metrics"]]
        table.add_row(f"baseline: {baseline}", *cells)
    return table


def ratio_table(task: str, results: Sequence[dict[str, Any]]) -> Table:
    """The objective of every preset divided by that of every other, and the same from the paper's table."""
    kind = find_task(task)
    values = {
        preset: mean(result["metrics"][kind.selection_metric] for result in own)
        for preset, own in _by_preset(results).items()
    }
    title = f"{kind.selection_metric.replace('_', ' ')}, row / column (in brackets: the paper's)"
    table = Table("preset", *values, title=title, title_justify="left", title_style="")
    for row, value in values.items():
        cells = []
        for column, other in values.items():
            paper, paper_other = kind.presets[row].paper, kind.presets[column].paper
            known = paper is not None and paper_other is not None and row != column
            cells.append(f"{value / other:.3f}" + (f" ({paper / paper_other:.3f})" if known else ""))  # type: ignore[operator]
        table.add_row(row, *cells)
    return table


def group_table(task: str, results: Sequence[dict[str, Any]]) -> Table:
    """The objective by group (action, sequence), mean over seeds."""
    objective = find_task(task).selection_metric
    groups = list(results[0]["groups"])
    table = Table("preset", *groups, title=objective.replace("_", " "), title_justify="left", title_style="")
    for preset, own in _by_preset(results).items():
        table.add_row(preset, *(f"{mean(r['groups'][group][objective] for r in own):.1f}" for group in groups))
    return table


def _by_preset(results: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    presets = dict.fromkeys(result["preset"] for result in results)
    return {preset: [result for result in results if result["preset"] == preset] for preset in presets}


if __name__ == "__main__":
    run_command(command)
