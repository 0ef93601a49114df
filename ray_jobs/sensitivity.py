"""How far each layer of a run's network can be made thinner: ``python -m ray_jobs.sensitivity RUN``.

Every layer is projected alone; what it costs in features and in the task's metric is drawn as in Figures 4 and 5 of the
paper, into RUN/sensitivity/.
"""

import json
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from aign.compression.cost import cost_of
from aign.compression.curves_picture import draw_curves
from aign.compression.sensitivity import SHARES, measure_layers
from aign.compression.source import Source
from aign.compression.task import observed_of
from aign.device import choose_device
from aign.evaluation.result import readable
from aign.storage.store import Store
from aign.training.loop import evaluate
from ray_jobs.cli.console import run_command
from ray_jobs.cli.display import Bars
from ray_jobs.cli.options import OnDevice, WhereDataIs, parse_verb
from ray_jobs.reports.plots import as_png
from ray_jobs.runs.folder import open_run, with_data

CALIBRATION = 64
"""Samples of what the last stage reads that projections learn from."""


@dataclass(frozen=True, kw_only=True)
class Options(OnDevice, WhereDataIs):
    """Project each layer of a run's network alone, and draw what that costs."""

    run: Annotated[str, tyro.conf.Positional]
    """Folder of the run: a local path or s3:// URI."""
    metric: bool = True
    """Measure the task's metric of every thin network too, which takes most of the time."""


def command(argv: list[str]) -> None:
    options = parse_verb(Options, argv, "aign sensitivity")
    device = choose_device(options.device)
    trained, store = open_run(options.run), Store(options.run) / "sensitivity"
    store.check()
    task, source = with_data(trained, device, options.source), Source.of(trained.task)
    metric = task.selection_metric
    observed = observed_of(task.data.streams, task.objective.stages[-1], CALIBRATION, trained.run.training.seed)
    found: list[dict[str, Any]] = []
    with Bars() as bars:
        row = bars.progress.add_task(
            options.run, total=len(source.anatomy.readings) * len(SHARES), stage="thin networks"
        )
        for point in measure_layers(source, observed):
            known: dict[str, Any] = {"layer": point.layer, "share": point.share, "error": point.error}
            known["macs_percent"] = 100 * cost_of(point.network, source.example).macs / source.cost.macs
            if options.metric:
                known[metric] = evaluate(task, point.network.to(device))[0].metrics[metric]
            found.append(known)
            bars.progress.advance(row)
            bars.say("  ".join(f"{k} {v if isinstance(v, str) else readable(v)}" for k, v in known.items()))
        whole = evaluate(task, task.model.generator)[0].metrics[metric] if options.metric else None
    store.write("curves.json", json.dumps({"points": found, "whole": whole, "objective": metric}).encode())
    store.write("curves.png", as_png(draw_curves(found, metric if options.metric else None, whole)))
    bars.say(f"curves: {store.uri}/curves.png")


if __name__ == "__main__":
    run_command(command)
