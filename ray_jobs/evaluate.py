"""Measure a run's newest checkpoint on its test split: ``python -m ray_jobs.evaluate RUN [--json FILE]``."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Annotated

import tyro

from aign.command import make_console
from aign.device import choose_device
from aign.evaluation.result import Split
from aign.training.loop import evaluate
from ray_jobs.cli.console import run_command
from ray_jobs.cli.display import evaluation_table
from ray_jobs.cli.options import OnDevice, WhereDataIs, parse_verb
from ray_jobs.cli.outputs import FileOption
from ray_jobs.runs.folder import open_run, with_data


@dataclass(frozen=True, kw_only=True)
class Options(OnDevice, WhereDataIs):
    """Measure a run on its test split."""

    run: Annotated[str, tyro.conf.Positional]
    """Folder of the run: a local path or s3:// URI."""
    split: Split = "test"
    """test, or validation: the samples that checkpoints and options are chosen by."""
    json: FileOption | None = None
    """File to write the metrics to, with their baselines and groups: a local path or s3:// URI."""


def command(argv: list[str]) -> None:
    options = parse_verb(Options, argv, "aign evaluate")
    if options.json:
        options.json.check()
    trained = open_run(options.run)
    task = with_data(trained, choose_device(options.device), options.source)
    evaluation, _ = evaluate(task, task.model.generator, options.split)
    measured = {"run": options.run, "step": trained.progress.step, **dataclasses.asdict(evaluation)}
    make_console().print(evaluation_table(measured))
    if options.json:
        options.json.write(json.dumps(measured, indent=1).encode())


if __name__ == "__main__":
    run_command(command)
