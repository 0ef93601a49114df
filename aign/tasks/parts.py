"""The five parts of a task: data, model, objective, evaluator and files. Each has defaults for what a task lacks.

A supervised task says nothing about renderers or discriminators, and one that reads no files of its users has no word
about files.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from aign.data.images import ImageSet
from aign.data.skipped import Skipped
from aign.data.streams import Sample, Stream
from aign.data.user_images import result_names
from aign.errors import UserError
from aign.evaluation.result import Split, Summary
from aign.memories import Memory
from aign.renderers.identity import Identity
from aign.tasks.stages import Stage

Factors = dict[str, Tensor]
"""Named factors with samples along the first dimension: inferred or remembered ones."""
Observed = dict[str, Tensor]
Terms = dict[str, Tensor]
"""Named loss terms, scalars, unweighted."""
Metadata = dict[str, Any]
"""Facts of a data set that a model needs, as JSON: ``data``, the data's name, is always among them."""


class Data(ABC):
    """The data of a task: streams to learn from, memories, and samples to be measured on.

    Made from options alone: it reads or generates the data. Raises UserError for data that is missing or unsound.
    """

    @abstractmethod
    def __init__(self, config: Any) -> None: ...

    @property
    @abstractmethod
    def metadata(self) -> Metadata:
        """What the model and the evaluator need to know of the data after training."""

    @classmethod
    def check(cls, config: Any) -> list[str]:
        """Raise UserError unless the data is there and sound; return notes on it for people to read before the run.

        What is slow to make of the data and cached (see ``aign.data.cache``) is made here, before workers wait for it.
        """
        cls(config)
        return []

    @abstractmethod
    def load(self, model: Any, device: torch.device) -> "LoadedData":
        """The data as the networks see it, on their device. ``model`` has been fitted."""


@dataclass(frozen=True, kw_only=True, repr=False)
class LoadedData:
    """A task's data as its networks see it, on their device."""

    source: Any
    """The Data that it comes from."""
    streams: Mapping[str, Stream]
    """By the names that stages use."""
    memories: Mapping[str, Memory] = field(default_factory=dict)
    validation: Sample
    """The samples that checkpoints, options and ranks are chosen by; training sees none of them."""
    test: Sample
    """The samples that a trained network is judged by."""

    def samples(self, split: Split) -> Sample:
        """Those of a split."""
        return {"validation": self.validation, "test": self.test}[split]


@dataclass(frozen=True, kw_only=True)
class Discriminator:
    """A discriminator: its network, what it sees of some factors, and the memory it is shown."""

    network: nn.Module
    sees: Callable[[Factors], Tensor]
    memory: Memory


@dataclass(frozen=True, kw_only=True)
class GeneratorPart:
    """How a part of the generator learns."""

    lr_factor: float = 1.0
    """Its learning rate, in units of the generator's."""
    frozen: bool = False
    """Whether it never learns. Its weights and buffers stay as they are, and it is always in evaluation mode."""


class Model(ABC):
    """The networks of a task and its renderer. Made from options and metadata, with or without data."""

    generator: nn.Module
    """Maps observed to inferred. K networks of the paper are parts of one module."""
    renderer: nn.Module = Identity()
    """Called with (inferred, observed): maps inferred back to the observed space. It has no parameters; it may look at
    what was observed, such as cameras or masks."""

    @abstractmethod
    def __init__(self, config: Any, metadata: Metadata) -> None: ...

    def fit(self, data: Any) -> None:  # noqa: B027  # most renderers need nothing
        """Take from the data what the renderer needs and no training learns, such as a shape basis."""

    @property
    def generator_parts(self) -> Mapping[str, GeneratorPart]:
        """Submodules of the generator that learn unlike the rest, or not in every stage, by their names in it."""
        return {}

    def discriminators(self, memories: Mapping[str, Memory]) -> Mapping[str, Callable[[], Discriminator]]:
        """What makes each discriminator, by name; its first weights do not depend on what other ones there are."""
        return {}

    def deployed(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The part of the generator's trained weights that is used after training."""
        return weights

    @abstractmethod
    def example(self, count: int, random: torch.Generator) -> Observed:
        """``count`` made-up samples such as the generator observes, on the CPU."""


class Objective(ABC):
    """The stages of a run and its loss terms."""

    def __init__(self, config: Any, model: Any) -> None:
        self.config, self.model = config, model

    @classmethod
    @abstractmethod
    def plan(cls, config: Any) -> Sequence[Stage]:
        """The stages of a run, from options alone."""

    @property
    def stages(self) -> Sequence[Stage]:
        return self.plan(self.config)

    def supervision(self, inferred: Factors, truth: Factors) -> Terms:
        """Terms on labelled samples."""
        return {}

    def reconstruction(self, rendered: Observed, observed: Observed, done: float) -> Terms:
        """Terms that compare what is rendered with what was observed.

        ``done`` is the fraction of the run that is done, which schedules go by. Terms without a weight, such as a
        learnt alpha, are only recorded.
        """
        return {}

    def priors(self, inferred: Factors) -> Terms:
        """Terms on unlabelled samples that need neither rendering nor memories."""
        return {}


class Evaluator(ABC):
    """Metrics and the picture. ``loaded`` is None where a task was restored without its data."""

    selection_metric: ClassVar[str]
    """The metric that decides which checkpoint is best; lower is better."""

    def __init__(self, config: Any, model: Any, metadata: Metadata, loaded: LoadedData | None) -> None:
        self.config, self.model, self.metadata, self.loaded = config, model, metadata, loaded

    @property
    def data(self) -> LoadedData:
        """Streams, memories and samples."""
        assert self.loaded is not None, "the task was restored without its data"
        return self.loaded

    @abstractmethod
    def measure(self, inferred: Factors, samples: Sample) -> dict[str, Tensor]:
        """Numbers that ``summarize`` makes metrics of, one row a sample."""

    def summarize(self, measured: dict[str, Tensor]) -> Summary:
        """Metrics of all samples, with baselines and groups: means, of baselines by names ``BASELINE/METRIC``."""
        return Summary.of_means(measured)

    def evaluate(self, inferred: Factors, samples: Sample) -> Summary:
        """Metrics of what was inferred of samples."""
        return self.summarize(self.measure(inferred, samples))

    @abstractmethod
    def picture(self, inferred: Factors, samples: Sample) -> Figure:
        """Observed, inferred, rendered and remembered side by side, of a few samples."""


GRID = "grid"
"""All inferred images side by side, without the suffix."""
PICTURE = "picture"


@dataclass(frozen=True, kw_only=True)
class UserInput:
    """A user's own input."""

    sample: Sample
    """``observed`` only."""
    names: tuple[str, ...]
    """Of the samples, each another one: files as they are called, people by their number."""
    skipped: tuple[Skipped, ...] = ()

    @classmethod
    def of_images(cls, images: ImageSet, sample: Sample) -> "UserInput":
        names = result_names(images.table["file"].tolist(), taken=(GRID, PICTURE))
        return cls(sample=sample, names=names, skipped=images.skipped)


class Files:
    """Reading a user's own input and writing what was inferred of it. By default a task reads none."""

    def __init__(self, config: Any, model: Any) -> None:
        self.config, self.model = config, model

    def read(self, path: Path) -> UserInput:
        """A user's own input. A file or person that cannot be right is skipped; raises UserError if all are."""
        raise UserError(path, "this task reads no files", "use one that does, or aign.load(...).infer(...) in Python")

    def write(self, inferred: Factors, own: UserInput, folder: Path) -> list[Path]:
        """What was inferred of a user's own input, as files in a folder."""
        return []

    def doubts(self, inferred: Factors, own: UserInput, metrics: Mapping[str, float]) -> list[str]:
        """What in a user's own input is unlike anything that ``metrics`` of the test split were measured on."""
        return []
