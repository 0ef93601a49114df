"""A finished or running RUN in storage, for the commands that use its network."""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from aign.errors import UserError
from aign.tasks.base import Task
from aign.trained import Trained, restore
from aign.training.run_config import RunConfig
from ray_jobs.checkpoints import Checkpoint, valid_checkpoints
from ray_jobs.storage import Store


def read_config(run: Store) -> dict[str, Any]:
    """RUN/config.json. Raises UserError if the folder is not a run."""
    try:
        return json.loads(run.read("config.json"))
    except FileNotFoundError:
        raise UserError(
            run.uri, "is not a run (it has no config.json)", "give the folder that training printed"
        ) from None
    except ValueError as error:
        raise UserError(f"{run.uri}/config.json", f"is not JSON ({error})", "restore it, or use another run") from None


def read_export(run: Store) -> dict[str, Any] | None:
    """RUN/export/config.json of a finished run: what it is and what it measured last; None before the end."""
    try:
        return json.loads(run.read("export/config.json"))
    except FileNotFoundError:
        return None


def newest_checkpoint(run: Store) -> Checkpoint:
    """The newest whole checkpoint. Raises UserError if there is none."""
    with tempfile.TemporaryDirectory(prefix="aign-read-") as scratch:
        for checkpoint in valid_checkpoints(run, Path(scratch)):
            return checkpoint
    raise UserError(run.uri, "has no whole checkpoint yet", "wait for its first one, or train it further")


def open_run(uri: str) -> Trained:
    """The generator of a run's newest checkpoint. Raises UserError for what is not a run, or of an unknown task."""
    run = Store(uri)
    stored = read_config(run)
    RunConfig.from_json(stored)  # another task or version is refused before anything is downloaded
    checkpoint = newest_checkpoint(run)
    weights = checkpoint.engines["generator"].averaged_weights
    tensors = {f"generator/{name}": weight for name, weight in weights.items()}
    tensors |= {f"renderer/{name}": buffer for name, buffer in checkpoint.renderer.items()}
    return restore(stored, stored["facts"], tensors, checkpoint.progress)


def with_data(trained: Trained) -> Task:
    """The trained network in a task that has its data, to be measured."""
    config: RunConfig = trained.run
    task = config.make_task()
    with torch.no_grad():
        task.generator.load_state_dict(trained.task.generator.state_dict())
        task.renderer.load_state_dict(trained.task.renderer.state_dict())
    return task


def differences(before: dict, now: dict) -> str:
    """What differs between two sets of options, for a message."""
    found = []
    for key, value in before.items():
        if isinstance(value, dict):
            found.append(differences(value, now[key]))
        elif value != now[key]:
            found.append(f"{key} was {value}, now {now[key]}")
    return ", ".join(part for part in found if part)
