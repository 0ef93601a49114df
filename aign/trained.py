"""A trained generator with its task: infer, draw, save and load. Needs neither Ray nor DeepSpeed."""

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from aign.compression.thinning import take_over
from aign.device import DeviceOption, choose_device, to_device
from aign.errors import UserError
from aign.tasks.base import Evaluation, Factors, Task, readable
from aign.training.loop import Progress, infer_all
from aign.training.run_config import RunConfig, find_task


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A task whose generator has learnt."""

    run: RunConfig
    task: Task
    progress: Progress
    """How far it has learnt."""
    evaluation: Evaluation | None = None
    """What training last measured, if anything."""

    @property
    def device(self) -> torch.device:
        """Where its networks are."""
        return next(self.task.generator.parameters()).device

    def infer(self, observed: dict[str, Tensor]) -> Factors:
        """Factors of any number of observed samples, in evaluation mode; on the networks' device."""
        return infer_all(self.task.generator, to_device(observed, self.device))

    def picture(self):
        """Observed, inferred, rendered and remembered, of the test set (only where the task has its data)."""
        return self.task.picture(self.infer(self.task.test["observed"]), self.task.test)

    def save(self, folder: Path | str) -> None:
        """Write generator.safetensors, config.json and a model card, which ``load`` reads."""
        write_export(
            Path(folder),
            self.run,
            self.task.facts(),
            self.evaluation,
            progress=self.progress,
            generator=self.task.generator.state_dict(),
            renderer=self.task.renderer.state_dict(),
        )


def load(folder: Path | str, *, device: DeviceOption = "auto") -> Trained:
    """A trained generator from an export folder, on cpu, cuda, or (auto) a GPU if there is one.

    Raises UserError if the folder is no export, or not whole.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text())
        tensors = load_file(folder / "generator.safetensors")
    except Exception as error:
        raise UserError(folder, f"not an export ({error})", "give the folder RUN/export") from None
    return restore(config["run"], config["facts"], tensors, Progress(**config["progress"]), choose_device(device))


def restore(
    run: dict[str, Any], facts: dict[str, Any], tensors: dict[str, Tensor], progress: Progress, device: torch.device
) -> Trained:
    """A trained generator from stored options, facts, and tensors ``generator/NAME`` and ``renderer/NAME``."""
    config = RunConfig.from_json(run)
    task = find_task(config.task).restore(config.options, facts)
    load_generator = take_over if config.compression else nn.Module.load_state_dict
    for module, prefix, load_into in (
        (task.generator, "generator/", load_generator),
        (task.renderer, "renderer/", nn.Module.load_state_dict),
    ):
        load_into(module, {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        module.to(device).eval()
    return Trained(run=config, task=task, progress=progress)


def write_export(
    folder: Path,
    run: RunConfig,
    facts: dict[str, Any],
    evaluation: Evaluation | None,
    *,
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
    measured = vars(evaluation) if evaluation else None
    config = {
        "run": run.to_json(),
        "facts": facts,
        "evaluation": measured,
        "progress": vars(progress),
        "versions": {"aign": _own_version(), "torch": torch.__version__},
    }
    (folder / "README.md").write_text(model_card(run, facts, evaluation))
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def model_card(run: RunConfig, facts: dict[str, Any], evaluation: Evaluation | None) -> str:
    """What the network is, what it was trained and measured on, and how to use it."""
    lines = [
        f"# {run.task}: {run.preset}",
        "",
        f"A generator trained with aign {_own_version()} ({run.training.steps} steps, seed {run.training.seed}) on "
        f"{facts['data']}.",
        "",
        "```python",
        "import aign",
        "",
        'trained = aign.load("this/folder")',
        "inferred = trained.infer(observed)",
        "```",
    ]
    if evaluation:
        lines += ["", f"Measured on {evaluation.data}, {evaluation.split}, {evaluation.num_samples} samples:", ""]
        lines += ["| metric | " + " | ".join(["this network", *evaluation.floors]) + " |"]
        lines += ["|---" * (2 + len(evaluation.floors)) + "|"]
        for name, value in evaluation.metrics.items():
            floors = [readable(floor[name]) if name in floor else "" for floor in evaluation.floors.values()]
            lines += [f"| {name} | {readable(value)} | " + " | ".join(floors) + " |"]
    return "\n".join(lines) + "\n"


def _own_version() -> str:
    try:
        return version("aign")
    except ImportError:
        return "(not installed)"
