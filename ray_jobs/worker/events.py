"""Events: what the workers of a run emit while it lasts, for the console, gauges, TensorBoard and sweeps.

They cross processes through Ray; the process in between imports neither PyTorch nor DeepSpeed for them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from aign.evaluation.result import Evaluation

MACHINE_METRICS = ("samples_per_second", "data_wait_share")
"""Of a progress event's values those that are no loss terms."""


@dataclass(frozen=True)
class WorkersStarting:
    """A new group of workers starts. None of them trains before the next event of another class."""


@dataclass(frozen=True, kw_only=True)
class Progressed:
    """A line of metrics: means since the last one."""

    step: int
    clock: int
    """Steps of the schedule that are done; it ends at ``--steps``."""
    stage: str
    generator_updates: int
    """Since the run began."""
    values: Mapping[str, float]
    """Loss terms, and MACHINE_METRICS."""

    @property
    def terms(self) -> dict[str, float]:
        """Loss terms, and what they learn."""
        return {name: value for name, value in self.values.items() if name not in MACHINE_METRICS}


@dataclass(frozen=True)
class Evaluated:
    """The run has been evaluated after a step."""

    step: int
    evaluation: Evaluation


@dataclass(frozen=True)
class PictureSaved:
    """A picture is on its way to storage."""

    uri: str


@dataclass(frozen=True)
class CheckpointSaved:
    """A checkpoint has arrived in storage: nothing up to its step can be lost."""

    step: int


@dataclass(frozen=True)
class Message:
    """A sentence for the person at the console."""

    text: str


@dataclass(frozen=True)
class WorkersEnded:
    """The first worker has emitted its last event."""


Event = WorkersStarting | Progressed | Evaluated | PictureSaved | CheckpointSaved | Message | WorkersEnded
