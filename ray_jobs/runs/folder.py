"""A finished or running RUN in storage, for the commands that use its network."""

import copy
import dataclasses
import tempfile
from pathlib import Path
from typing import Any, NotRequired

import torch
from torch import Tensor
from typing_extensions import TypedDict

from aign.compression.students import network_weights
from aign.device import DeviceOption, choose_device
from aign.errors import UserError
from aign.storage.store import Store
from aign.stored import read_json
from aign.tasks.base import Task
from aign.trained import StoredEvaluation, Trained, load, restore
from aign.training.loop import Progress
from aign.training.run_config import RunConfig
from ray_jobs.runs.checkpoints import Checkpoint, fetch_checkpoint, has_checkpoint, valid_checkpoints
from ray_jobs.runs.job import Job


class StoredTraining(TypedDict):
    """What every reader of RUN/config.json may rely on, of the options of training."""

    steps: int
    batch_size: int
    seed: int
    update_rule: str
    theta_d: float
    theta_g: float
    ratio: int


class StoredMetadata(TypedDict):
    """The same, of what a task says of itself."""

    data: str


class StoredJob(TypedDict):
    """RUN/config.json: a run's options, as a StoredRunConfig holds them, with where it ran."""

    task: str
    preset: str
    options: dict[str, Any]
    training: StoredTraining
    init_from: NotRequired[str | None]
    compression: NotRequired[dict[str, Any] | None]
    placement: dict[str, Any]
    versions: dict[str, str]
    metadata: StoredMetadata


class Result(TypedDict):
    """RUN/export/config.json, of which this is what was measured at the end and how far it came."""

    validation: StoredEvaluation
    test: StoredEvaluation
    progress: Progress


def read_config(run: Store) -> StoredJob:
    """RUN/config.json. Raises UserError if the folder is not a run, naming the run if it is a part of one."""
    try:
        content = run.read("config.json")
    except FileNotFoundError:
        found = _run_around(run)
        reason = "is a part of a run" if found else "is not a run (it has no config.json)"
        raise UserError(run.uri, reason, f"give {found or 'the folder that training printed'}") from None
    if run.name == "export" and (found := _run_around(run)):
        raise UserError(run.uri, "is a part of a run", f"give {found}")
    try:
        return read_json(content, f"{run.uri}/config.json", StoredJob, "use another run, or begin this one anew")
    except UserError:
        if not run.exists("generator.safetensors"):
            raise
    raise UserError(run.uri, "is an export, not a run", "give the run that it was made of, or use aign.load in Python")


def _run_around(folder: Store) -> str | None:
    """The address of the run that a folder is a part of, if it is."""
    for depth in range(1, 3):  # RUN/export, RUN/checkpoints/step_N
        parts = folder.uri.rsplit("/", depth)
        if len(parts) <= depth or not parts[0] or parts[0].endswith("/"):
            break
        if Store(parts[0]).exists("config.json"):
            return parts[0]
    return None


def read_export(run: Store) -> Result | None:
    """What was measured at the end of a run, and how far it came; None before the end.

    A run has finished when its last checkpoint has arrived, and its export after it.
    """
    try:
        content = run.read("export/config.json")
    except FileNotFoundError:
        return None
    export = read_json(content, f"{run.uri}/export/config.json", Result, "use another run, or begin this one anew")
    return export if has_checkpoint(run, export["progress"].step) else None


def finished_export(job: Job) -> Result | None:
    """The same of the run of a job, if it is as long as the job says."""
    export = read_export(job.folder)
    return export if export and export["progress"].clock >= job.run.training.steps else None


def read_results(job: Job) -> Result:
    """What ``finished_export`` gives of a run that has been launched. RuntimeError if it is gone since."""
    if (export := finished_export(job)) is None:
        raise RuntimeError(f"{job.folder.uri} has no export any more; the same command makes up for it")
    return export


def newest_checkpoint(run: Store) -> Checkpoint:
    """The newest whole checkpoint. Raises UserError if there is none."""
    with tempfile.TemporaryDirectory(prefix="aign-read-") as scratch:
        for checkpoint in valid_checkpoints(run, Path(scratch)):
            return checkpoint
    raise UserError(run.uri, "has no whole checkpoint yet", "wait for its first one, or train it further")


def checkpoint_of(run: Store, step: int) -> Checkpoint:
    """The checkpoint of a step. FileNotFoundError if there is none; raises UserError if it is not whole."""
    with tempfile.TemporaryDirectory(prefix="aign-read-") as scratch:
        return fetch_checkpoint(run, step, Path(scratch))


def open_run(uri: str, step: int | None = None, device: DeviceOption = "cpu") -> Trained:
    """The generator of a run's newest checkpoint, or of a step's.

    Raises UserError for what is not a run, or of an unknown task.
    """
    run = Store(uri)
    stored = read_config(run)
    # another task or version is refused before anything is downloaded
    config = RunConfig.from_json(stored, f"{run.uri}/config.json")
    if config.compression and config.compression.part == "projection":
        return open_export(run, device)
    checkpoint = newest_checkpoint(run) if step is None else checkpoint_of(run, step)
    weights = deployed(config, checkpoint)
    tensors = {f"generator/{name}": weight for name, weight in weights.items()}
    tensors |= {f"renderer/{name}": buffer for name, buffer in checkpoint.renderer.items()}
    where = f"{run.uri}/checkpoints/{checkpoint.folder_name}"
    metadata = dict(stored["metadata"])
    return restore(stored, metadata, tensors, checkpoint.progress, choose_device(device), where=where)


def deployed(config: RunConfig, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The generator's weights in a checkpoint as they are used."""
    weights = checkpoint.engines["generator"].averaged_weights
    return network_weights(weights) if config.compression else weights


def open_export(run: Store, device: DeviceOption = "cpu") -> Trained:
    """The network that projections were folded to at the end of a run. Raises UserError before that."""
    if not run.exists("export/config.json"):
        raise UserError(run.uri, "holds projections, which are folded at its end", "wait for it, or train it further")
    with tempfile.TemporaryDirectory(prefix="aign-read-") as scratch:
        run.download("export", Path(scratch))
        return load(scratch, device=device)


def with_data(trained: Trained, device: torch.device, source: str | None = None) -> Task:
    """A copy of the trained network in a task that has its data, to be measured on a device.

    ``source`` is where the data lies now, if that is another place than at training.
    """
    options = trained.run.options
    if source is not None:
        if not hasattr(options, "source"):
            reason = f"data of task {trained.run.task} lie where AIGN_DATA says"
            raise UserError(f"--source {source}", reason, "set AIGN_DATA")
        options = dataclasses.replace(options, source=source)
    task = dataclasses.replace(trained.run, options=options, compression=None).make_task(device)
    task.model.generator = copy.deepcopy(trained.task.model.generator).to(device)  # which may be thinner
    task.model.renderer.load_state_dict(trained.task.model.renderer.state_dict())
    return task


def differences(before: dict, now: dict) -> str:
    """What differs between two sets of options, for a message."""
    found = []
    for key in before | now:
        value, other = before.get(key, "not there"), now.get(key, "not there")
        if isinstance(value, dict) and isinstance(other, dict):
            found.append(differences(value, other))
        elif value != other:
            found.append(f"{key} was {value}, now {other}")
    return ", ".join(part for part in found if part)
