"""A training job: what runs (RunConfig), and where and how it runs."""

import dataclasses
import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from aign.errors import UserError
from aign.training.run_config import RunConfig
from ray_jobs.storage import Store

REPORTED_PACKAGES = ("aign", "torch", "deepspeed", "ray", "numpy")
WORKERS_ONLY = ("gpus_per_worker", "zero_stage", "max_failures")


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a run runs. Beside rounding, none of it changes the run's numbers."""

    storage: str = "runs"
    """Folder that runs are written to: a local path or s3://bucket/prefix."""
    name: str | None = None
    """Name of the run and its folder. A run of that name that is there already goes on. Default: made from task, preset
    and time."""
    workers: int = 2
    """Ray Train workers, each with DeepSpeed engines; 0: everything in this process, with plain PyTorch engines."""
    gpus_per_worker: float = 0
    """GPUs of each worker; 0 trains on CPUs."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    """What DeepSpeed shards among workers: 0 nothing, 1 optimizer state, 2 and gradients, 3 and weights."""
    max_failures: int = 3
    """How often a run whose worker died is continued from its newest checkpoint."""

    def __post_init__(self) -> None:
        for name in ("workers", "gpus_per_worker", "max_failures"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} = {getattr(self, name)}", "less than zero", "give zero or more")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not self.workers and field.name in WORKERS_ONLY and value != field.default:
                raise UserError(f"{field.name} = {value}", "no effect with 0 workers", "give --workers 1 or more")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run at one place."""

    run: RunConfig
    placement: Placement
    name: str

    @property
    def folder(self) -> Store:
        """RUN: where everything of the run is written."""
        return Store(self.placement.storage) / self.name

    def to_json(self) -> dict[str, Any]:
        """What config.json holds: everything that repeats the run, and no secret."""
        return {
            **self.run.to_json(),
            "placement": dataclasses.asdict(self.placement),
            "name": self.name,
            "versions": {"python": platform.python_version(), **{name: _version(name) for name in REPORTED_PACKAGES}},
        }


def _version(package: str) -> str:
    try:
        return version(package)
    except ImportError:
        return "not installed"
