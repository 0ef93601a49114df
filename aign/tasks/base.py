"""What a task declares. The trainer knows nothing else about it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from aign.data.images import ImageSet
from aign.data.own_images import result_names
from aign.data.skipped import Skipped
from aign.data.streams import Sample, Stream, rows
from aign.memories import Memory

Factors = dict[str, Tensor]
"""Named factors with samples along the first dimension: what is inferred, or remembered."""
Observed = dict[str, Tensor]
Terms = dict[str, Tensor]
"""Named loss terms, scalars, unweighted."""


GRID = "grid"
"""All inferred images side by side, without the suffix."""
PICTURE = "picture"


@dataclass(frozen=True, kw_only=True)
class OwnInput:
    """A user's own input."""

    sample: Sample
    """``observed`` only."""
    names: tuple[str, ...]
    """Of the samples, each another one: files as they are called, people by their number."""
    skipped: tuple[Skipped, ...] = ()

    @classmethod
    def of_images(cls, images: ImageSet, sample: Sample) -> "OwnInput":
        names = result_names(images.table["file"].tolist(), taken=(GRID, PICTURE))
        return cls(sample=sample, names=names, skipped=images.skipped)


@dataclass(frozen=True, kw_only=True)
class Critic:
    """A discriminator: its network, what it sees of some factors, and the memory it is shown."""

    network: nn.Module
    sees: Callable[[Factors], Tensor]
    memory: Memory


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stretch of a run: which data it reads and how much each loss term weighs; a term not named is off.

    ``labelled`` and ``unlabelled`` name streams of the task that share the batch equally. Terms called
    ``adversarial/NAME`` switch the discriminator NAME on.
    """

    name: str
    share: float
    """Part of the run's steps."""
    labelled: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    weights: Mapping[str, float]

    @property
    def critics(self) -> tuple[str, ...]:
        """The discriminators that are on."""
        prefix = "adversarial/"
        return tuple(term.removeprefix(prefix) for term in self.weights if term.startswith(prefix))


def num_parts(stages: Sequence[Stage]) -> int:
    """Into how many equal parts a batch must divide, so that each stream of each stage gets as many samples."""
    return math.lcm(*(max(1, len(streams)) for stage in stages for streams in (stage.labelled, stage.unlabelled)))


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named choice of options; the paper's baselines are presets, never other scripts."""

    summary: str
    task: Mapping[str, Any] = field(default_factory=dict)
    """Options of the task's Config."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Options of TrainingConfig."""
    paper: float | None = None
    """The task's objective as the paper measured it for this preset; ``compare`` runs the presets that have one."""


class Task(ABC):
    """One field of work in one file: data, generator, renderer, discriminators, terms, metrics, picture, presets.

    A task is made with ``Task(config, seed, device)``, which reads or generates its data and initialises its networks
    from the seed, or with ``Task.restore``, which needs no data and can only infer, render and draw. What it declares
    is checked before its first step (``aign.training.declared``).
    """

    name: ClassVar[str]
    Config: ClassVar[type]
    presets: ClassVar[Mapping[str, Preset]]
    objective: ClassVar[str]
    """The metric that decides which checkpoint is best; lower is better."""

    config: Any
    generator: nn.Module
    """Maps observed to inferred. K networks of the paper are parts of one module."""
    renderer: nn.Module
    """Maps inferred back to the observed space; no parameters."""
    critics: Mapping[str, Critic]
    streams: Mapping[str, Stream]
    test: Sample
    """What metrics are measured on."""

    @classmethod
    @abstractmethod
    def plan(cls, config: Any) -> Sequence[Stage]:
        """The stages of a run, from options alone."""

    @classmethod
    @abstractmethod
    def check_data(cls, config: Any) -> list[str]:
        """Raise UserError unless the data that the options name is there and sound.

        What is slow to make of it and kept (see ``aign.data.cache``) is made here, before there are workers that wait.
        Returns what a person should know of it before the run: how much a bias selects, what had to be skipped.
        """

    @property
    def stages(self) -> Sequence[Stage]:
        return self.plan(self.config)

    def deployed(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of what the generator has learnt, that which is used afterwards."""
        return weights

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What ``restore`` needs to know beside the config and the weights, as JSON."""

    @classmethod
    @abstractmethod
    def restore(cls, config: Any, facts: dict[str, Any]) -> "Task":
        """The task without its data, for a trained generator."""

    def supervision(self, inferred: Factors, truth: Factors) -> Terms:
        """Terms on labelled samples."""
        return {}

    @abstractmethod
    def reconstruction(self, rendered: Observed, observed: Observed, done: float) -> Terms:
        """Terms that compare what is rendered with what was observed.

        ``done`` is the fraction of the run that is done, which schedules go by. Terms without a weight, such as a
        learnt alpha, are only recorded.
        """

    def priors(self, inferred: Factors) -> Terms:
        """Terms on unlabelled samples that need neither rendering nor memories."""
        return {}

    @abstractmethod
    def measure(self, inferred: Factors, test: Sample) -> dict[str, Tensor]:
        """What ``summarize`` makes metrics of, one row a sample."""

    @abstractmethod
    def summarize(self, measured: dict[str, Tensor]) -> "Evaluation":
        """Metrics of the whole test set, with its floors and groups."""

    @abstractmethod
    def picture(self, inferred: Factors, test: Sample) -> Figure:
        """Observed, inferred, rendered and remembered side by side, of a few samples."""

    @abstractmethod
    def read(self, path: Path) -> OwnInput:
        """A user's own input. Whatever cannot be right in one file or person is skipped; raises UserError if all is."""

    @abstractmethod
    def example(self, count: int, random: torch.Generator) -> Observed:
        """``count`` made-up samples such as ``read`` gives, on the CPU; made with or without the task's data."""

    @abstractmethod
    def write(self, inferred: Factors, own: OwnInput, folder: Path) -> list[Path]:
        """What was inferred of a user's own input, as files in a folder."""

    def doubts(self, inferred: Factors, own: OwnInput, metrics: Mapping[str, float]) -> list[str]:
        """What in a user's own input is unlike anything that ``metrics`` of the test set were measured on."""
        return []


def readable(value: float, like: float | None = None) -> str:
    """A metric as people read it: three digits or, if it is large, tenths; or as many as ``like`` (a mean) has."""
    size = abs(value if like is None else like)
    tenths = not math.isfinite(size) or size >= 10 or size == 0
    return f"{value:.{1 if tenths else min(6, 2 - math.floor(math.log10(size)))}f}"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Metrics with what they were measured on."""

    data: str
    split: str
    num_samples: int
    metrics: Mapping[str, float]
    """Averages by name, units in the names."""
    floors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The same metrics for predictors that have learnt nothing."""
    groups: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The same metrics for parts of the test set (an action, a sequence)."""

    @classmethod
    def of_means(cls, measured: Mapping[str, Tensor], *, data: str, split: str) -> "Evaluation":
        """Means over samples: of what is measured by name, and of floors' numbers by ``FLOOR/NAME``."""
        by_owner: dict[str, dict[str, float]] = {"": {}}
        for path, values in measured.items():
            owner, _, name = path.rpartition("/")
            by_owner.setdefault(owner, {})[name] = values.double().mean().item()
        metrics = by_owner.pop("")
        return cls(data=data, split=split, num_samples=rows(measured), metrics=metrics, floors=by_owner)
