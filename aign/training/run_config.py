"""Everything that decides a run's numbers, in one value that goes to config.json and back."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired

from typing_extensions import TypedDict

from aign.compression.plan import Compression
from aign.compression.task import compressed
from aign.errors import NotTrainable, UserError, did_you_mean
from aign.options import changeable
from aign.seeding import generator_alone
from aign.stored import read_json, with_tuples
from aign.tasks import TASKS
from aign.tasks.base import Task, TaskKind
from aign.tasks.stages import Preset, Stage, num_parts
from aign.training.config import TrainingConfig
from aign.training.declared import check_declared


class StoredRunConfig(TypedDict):
    """A RunConfig as JSON holds it."""

    task: str
    preset: str
    options: dict[str, Any]
    training: dict[str, Any]
    init_from: NotRequired[str | None]
    compression: NotRequired[dict[str, Any] | None]


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A task, the preset it started from, and all options as they finally are."""

    task: str
    preset: str
    options: Any
    """The task's Config."""
    training: TrainingConfig
    init_from: str | None = None
    """RUN@STEP, the checkpoint whose weights a job began with; None: fresh ones."""
    compression: Compression | None = None
    """What a trained network is compressed to; None: one is trained."""

    def __post_init__(self) -> None:
        if self.training.r1_every != 1 and not any(stage.discriminators for stage in self._stages):
            reason = f"no effect, no stage of this {self.task} run has discriminators"
            raise NotTrainable(f"r1_every = {self.training.r1_every}", reason, "leave it out")

    @property
    def _stages(self) -> Sequence[Stage]:
        """Those of the task; a compression has its own, of the same discriminators."""
        return find_task(self.task).objective.plan(self.options)

    @classmethod
    def of(cls, task: str, preset: str | None = None, **changes: Any) -> "RunConfig":
        """A preset (default: the task's first) with some options changed, by name, whether the task's or training's.

        Raises UserError for an unknown task, preset or option.
        """
        kind = find_task(task)
        name, chosen = find_preset(task, preset)
        training_names = {field.name for field in dataclasses.fields(TrainingConfig)}
        option_names = {field.name for field in dataclasses.fields(kind.Config)}
        for change in changes:
            if change not in training_names | option_names:
                raise UserError(change, f"not an option of {task}", did_you_mean(change, training_names | option_names))
        return cls(
            task=task,
            preset=name,
            options=kind.Config(**{**chosen.task, **{k: v for k, v in changes.items() if k in option_names}}),
            training=TrainingConfig(**{**chosen.training, **{k: v for k, v in changes.items() if k in training_names}}),
        )

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def recipe(self) -> dict[str, Any]:
        """What the run's numbers depend on, up to any step of it: neither how long it is nor what changes no number."""
        whole = self.to_json()
        for part, options in (("options", self.options), ("training", self.training)):
            for name in changeable(type(options)):
                del whole[part][name]
        del whole["preset"], whole["training"]["steps"]
        return whole

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], where: str = "config.json") -> "RunConfig":
        """The inverse of ``to_json``. Raises UserError if the options that are stored ``where`` are not this version's.

        ``stored`` has the shape of a StoredRunConfig.
        """
        compression, kind = stored.get("compression"), find_task(stored["task"]).Config
        for known, part in ((kind, "options"), (TrainingConfig, "training")):
            if others := stored[part].keys() - {field.name for field in dataclasses.fields(known)}:
                reason = f"has {part} that this version does not know ({', '.join(sorted(others))})"
                raise UserError(where, reason, "use the version it names")
        try:
            return cls(
                task=stored["task"],
                preset=stored["preset"],
                options=kind(**with_tuples(stored["options"])),
                training=TrainingConfig(**with_tuples(stored["training"])),
                init_from=stored.get("init_from"),
                compression=read_json(json.dumps(compression), where, Compression) if compression else None,
            )
        except UserError as error:
            raise UserError(f"config.json: {error.value}", error.reason, "restore it, or use another run") from None
        except (KeyError, TypeError) as error:
            raise UserError(where, "lacks options that this version needs", "use the version it names") from error

    def make_task(self, device: Any = "cpu") -> Task:
        """The task with its data and networks as they are before anything is learnt or loaded.

        Raises UserError for a task whose declarations do not fit together.
        """
        with generator_alone():
            task = find_task(self.task).make(self.options, self.training.seed, device)
            check_declared(task, task.objective.stages)
            return compressed(task, self.compression, self.training.seed, device) if self.compression else task

    def check_batch(self, num_workers: int) -> None:
        """Raises UserError unless each stream has an equal part of the batch, and each worker a portion of it."""
        parts = num_parts(self._stages)
        size = self.training.batch_size
        if size % parts:
            raise UserError(
                f"batch_size = {size}",
                f"a stage of this preset shares it among streams, in {parts} equal parts",
                f"use {max(1, size // parts) * parts}",
            )
        smallest = max(1, num_workers) * self.training.accumulate * parts
        if size < smallest:
            raise UserError(
                f"batch_size = {size}",
                f"too small for {num_workers} workers, {self.training.accumulate} accumulated parts"
                f" and {parts} equal parts of a stage",
                f"use {smallest} or more",
            )


def find_task(name: str) -> TaskKind:
    if name not in TASKS:
        raise UserError(f"task {name!r}", f"is not one of {', '.join(TASKS)}", did_you_mean(name, TASKS))
    return TASKS[name]


def find_preset(task: str, name: str | None) -> tuple[str, Preset]:
    presets = find_task(task).presets
    if name is None:
        name = next(iter(presets))
    if name not in presets:
        raise UserError(f"preset {name!r}", f"{task} has {', '.join(presets)}", did_you_mean(name, presets))
    return name, presets[name]
