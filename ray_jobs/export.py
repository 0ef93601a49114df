"""A run's network as files, for PyTorch and for ONNX: ``python -m ray_jobs.export RUN [--out FOLDER]``."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Annotated

import torch
import tyro

from aign.onnx_export import OnnxOptions, write_onnx
from ray_jobs.cli.console import run_command
from ray_jobs.cli.options import OnDevice, parse_verb
from ray_jobs.cli.outputs import FolderOption, OutputFolder
from ray_jobs.runs.folder import open_run

NUM_EXAMPLES = 4
"""Made-up samples that the ONNX file is compared with PyTorch on."""


@dataclass(frozen=True, kw_only=True)
class Options(OnDevice, OnnxOptions):
    """Write the network of a run's newest checkpoint: for ``aign.load``, and as an ONNX file that onnxruntime was seen
    to give the same results with."""

    run: Annotated[str, tyro.conf.Positional]
    """Folder of the run: a local path or s3:// URI."""
    out: FolderOption = OutputFolder("exported")
    """Folder for the files, a local path or s3:// URI; those of an earlier export are replaced."""


def command(argv: list[str]) -> None:
    options = parse_verb(Options, argv, "aign export")
    options.out.check()
    trained = open_run(options.run, device=options.device)
    with options.out.filling() as folder:
        example = trained.task.model.example(NUM_EXAMPLES, torch.Generator().manual_seed(0))
        report = write_onnx(trained.task.model.generator, example, folder / "generator.onnx", opset=options.opset)
        (folder / "onnx.json").write_text(json.dumps(dataclasses.asdict(report), indent=1))
        trained.save(folder)
        files = sorted(path.name for path in folder.iterdir())
    print(f"step {trained.progress.step}: {', '.join(f'{options.out}/{name}' for name in files)}")
    print(f"onnxruntime's outputs are within {report.largest_difference:.1e} of PyTorch's, of their largest magnitude")


if __name__ == "__main__":
    run_command(command)
