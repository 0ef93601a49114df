"""A trained generator with its task: infer, draw, save and load. Needs neither Ray nor DeepSpeed."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NotRequired

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typing_extensions import TypedDict

from aign.compression.thinning import take_over
from aign.device import DeviceOption, choose_device, to_device
from aign.errors import UserError
from aign.evaluation.result import Evaluation, Split, cells_of, columns_of, measured_on
from aign.stored import read_json
from aign.tasks.base import Task
from aign.tasks.parts import Factors
from aign.training.loop import Progress, infer_all
from aign.training.run_config import RunConfig, StoredRunConfig, find_task
from aign.training.weights import load_weights


class StoredEvaluation(TypedDict):
    """An Evaluation as JSON holds it."""

    data: str
    split: Split
    num_samples: int
    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]]
    groups: dict[str, dict[str, float]]
    inductive: dict[str, float]
    notes: str


class StoredExport(TypedDict):
    """The config.json of an export."""

    run: StoredRunConfig
    metadata: dict[str, Any]
    progress: Progress
    validation: NotRequired[StoredEvaluation | None]
    test: NotRequired[StoredEvaluation | None]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A task whose generator has learnt."""

    run: RunConfig
    task: Task
    progress: Progress
    """How far it has learnt."""
    validation: Evaluation | None = None
    """What training last measured, if anything."""
    test: Evaluation | None = None
    """What was measured when training had ended."""

    @property
    def device(self) -> torch.device:
        """Where its networks are."""
        return next(self.task.model.generator.parameters()).device

    def infer(self, observed: dict[str, Tensor]) -> Factors:
        """Factors of any number of observed samples, in evaluation mode; on the networks' device."""
        return infer_all(self.task.model.generator, to_device(observed, self.device))

    def picture(self):
        """Observed, inferred, rendered and remembered, of the test split (only where the task has its data)."""
        return self.task.evaluator.picture(self.infer(self.task.data.test["observed"]), self.task.data.test)

    def save(self, folder: Path | str) -> None:
        """Write generator.safetensors, config.json and a model card, which ``load`` reads."""
        write_export(
            Path(folder),
            self.run,
            self.task.metadata,
            validation=self.validation,
            test=self.test,
            progress=self.progress,
            generator=self.task.model.generator.state_dict(),
            renderer=self.task.model.renderer.state_dict(),
        )


def load(folder: Path | str, *, device: DeviceOption = "auto") -> Trained:
    """A trained generator from an export folder, on cpu, cuda, or (auto) a GPU if there is one.

    Raises UserError if it is not an export, is damaged, or holds weights that do not fit or are not finite.
    """
    folder = Path(folder)
    config_file, weights_file = folder / "config.json", folder / "generator.safetensors"
    remedy = "give the folder RUN/export, or what aign export wrote"
    if not (os.path.isfile(config_file) and os.path.isfile(weights_file)):
        inside = folder / "export"
        found = f"give {inside}" if os.path.isfile(inside / weights_file.name) else remedy
        raise UserError(folder, f"is not an export (it has no {config_file.name} and {weights_file.name})", found)
    try:
        stored = read_json(config_file.read_bytes(), config_file, StoredExport, remedy)
        tensors = load_file(weights_file)
    except (OSError, SafetensorError) as error:
        raise UserError(weights_file, f"cannot be read ({error})", "export the network again") from None
    where = str(folder)
    return restore(stored["run"], stored["metadata"], tensors, stored["progress"], choose_device(device), where=where)


def restore(
    run: Mapping[str, Any],
    metadata: dict[str, Any],
    tensors: dict[str, Tensor],
    progress: Progress,
    device: torch.device,
    *,
    where: str,
) -> Trained:
    """A trained generator from stored options, metadata, and tensors ``generator/NAME`` and ``renderer/NAME``.

    Raises UserError about ``where`` these are stored, for what does not belong together.
    """
    config = RunConfig.from_json(run, where)
    try:
        task = find_task(config.task).restore(config.options, metadata)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = f"its metadata is not that of a task {config.task!r}"
        raise UserError(where, reason, "train it again, or use the version that wrote it") from error
    for module, prefix, load_into in (
        (task.model.generator, "generator/", take_over if config.compression else nn.Module.load_state_dict),
        (task.model.renderer, "renderer/", nn.Module.load_state_dict),
    ):
        weights = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        load_weights(module, weights, where=where, load_into=load_into)
        module.to(device).eval()
    return Trained(run=config, task=task, progress=progress)


def write_export(
    folder: Path,
    run: RunConfig,
    metadata: dict[str, Any],
    *,
    validation: Evaluation | None,
    test: Evaluation | None,
    progress: Progress,
    generator: dict[str, Tensor],
    renderer: dict[str, Tensor],
) -> None:
    """Write the files of an export."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"generator/{k}": v for k, v in generator.items()} | {f"renderer/{k}": v for k, v in renderer.items()}
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / "generator.safetensors"
    )
    config = {
        "run": run.to_json(),
        "metadata": metadata,
        "validation": vars(validation) if validation else None,
        "test": vars(test) if test else None,
        "progress": vars(progress),
        "versions": {"aign": _own_version(), "torch": torch.__version__},
    }
    (folder / "README.md").write_text(model_card(run, metadata, test))
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def model_card(run: RunConfig, metadata: dict[str, Any], test: Evaluation | None) -> str:
    """What the network is, what it was trained and measured on, and how to use it."""
    lines = [
        f"# {run.task}: {run.preset}",
        "",
        f"A generator trained with aign {_own_version()} ({run.training.steps} steps, seed {run.training.seed}) on "
        f"{metadata['data']}.",
        "",
        "```python",
        "import aign",
        "",
        'trained = aign.load("this/folder")',
        "inferred = trained.infer(observed)",
        "```",
    ]
    if test:
        lines += ["", f"Measured on {measured_on(vars(test))}:", ""]
        columns = columns_of(vars(test))
        lines += ["| metric | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
        lines += [f"| {' | '.join(cells)} |" for cells in cells_of(vars(test))]
    return "\n".join(lines) + "\n"


def _own_version() -> str:
    try:
        return version("aign")
    except ImportError:
        return "(not installed)"
