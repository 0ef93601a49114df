"""Use a run's network on your own input: ``python -m ray_jobs.predict RUN INPUT --out FOLDER``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from aign.data.streams import rows
from aign.device import to_device
from ray_jobs.console import run_command
from ray_jobs.options import OnDevice, parse_verb
from ray_jobs.outputs import FolderOption, OutputFolder
from ray_jobs.runs import open_run


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
    sample = {name: to_device(part, trained.device) for name, part in trained.task.read(options.input).items()}
    inferred = trained.infer(sample["observed"])
    with options.out.filling() as folder:
        written = [*trained.task.write(inferred, sample, folder), folder / "picture.png"]
        trained.task.picture(inferred, sample).savefig(written[-1])
    print(f"inferred {rows(inferred)} samples: {', '.join(f'{options.out}/{path.name}' for path in written)}")


if __name__ == "__main__":
    run_command(command)
