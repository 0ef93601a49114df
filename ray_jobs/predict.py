"""Use a run's network on your own input: ``python -m ray_jobs.predict RUN INPUT --out FOLDER``."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from aign.data.skipped import skipped_line
from aign.device import to_device
from aign.errors import UserError
from aign.storage.store import Store
from aign.tasks.parts import PICTURE
from ray_jobs.cli.console import run_command
from ray_jobs.cli.options import OnDevice, parse_verb
from ray_jobs.cli.outputs import FolderOption, OutputFolder
from ray_jobs.reports.history import newest_metrics
from ray_jobs.runs.folder import open_run

NUM_NAMED = 3
"""Files that are named of many."""


@dataclass(frozen=True, kw_only=True)
class Options(OnDevice):
    """Infer from your own input with a run's newest checkpoint; nothing is trained."""

    run: Annotated[str, tyro.conf.Positional]
    """Folder of the run: a local path or s3:// URI."""
    input: Annotated[Path, tyro.conf.Positional]
    """What to infer from: for pose a JSON or CSV file of keypoints, for tasks on images a folder of them."""
    out: FolderOption = OutputFolder("predictions")
    """Folder that results and a picture are written to: a local path or s3:// URI."""


def command(argv: list[str]) -> None:
    options = parse_verb(Options, argv, "aign predict")
    options.out.check()
    trained = open_run(options.run, device=options.device)
    own = trained.task.files.read(options.input)
    own = replace(own, sample={name: to_device(part, trained.device) for name, part in own.sample.items()})
    inferred = trained.infer(own.sample["observed"])
    with options.out.filling() as folder:
        written = trained.task.files.write(inferred, own, folder)
        trained.task.evaluator.picture(inferred, own.sample).savefig(folder / f"{PICTURE}.png")
        written.append(folder / f"{PICTURE}.png")
    names = ", ".join(path.name for path in written[:NUM_NAMED])
    files = names if len(written) <= NUM_NAMED else f"{names} and {len(written) - NUM_NAMED:,} more"
    print(f"inferred {len(own.names):,} samples: {files} in {options.out}")
    if own.skipped:
        print(skipped_line(own.skipped, "of the input were"))
    for doubt in trained.task.files.doubts(inferred, own, _measured(options.run)):
        print(f"warning: {doubt}")


def _measured(run: str) -> Mapping[str, float]:
    """The run's metrics, which only warnings need."""
    try:
        return newest_metrics(Store(run))
    except UserError as error:
        print(f"warning: {error}")
        return {}


if __name__ == "__main__":
    run_command(command)
