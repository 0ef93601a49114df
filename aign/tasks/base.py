"""A task: five parts, declared in one file. The trainer knows nothing else about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from aign.tasks.parts import Data, Discriminator, Evaluator, Files, LoadedData, Metadata, Model, Objective
from aign.tasks.stages import Preset


@dataclass(frozen=True, kw_only=True, repr=False)
class Task:
    """The parts of one run, made from the same options.

    Declarations are checked before the first step (``aign.training.declared``).
    """

    kind: "TaskKind"
    config: Any
    model: Model
    objective: Objective
    evaluator: Evaluator
    files: Files
    discriminators: Mapping[str, Discriminator]

    @property
    def name(self) -> str:
        return self.kind.name

    @property
    def selection_metric(self) -> str:
        """The metric that decides which checkpoint is best; lower is better."""
        return self.evaluator.selection_metric

    @property
    def data(self) -> LoadedData:
        """Streams, memories and the samples that are measured."""
        return self.evaluator.data

    @property
    def metadata(self) -> Metadata:
        """What ``restore`` needs beside the config and the weights, as JSON."""
        return self.evaluator.metadata


@dataclass(frozen=True, kw_only=True)
class TaskKind:
    """A field of work: the types of its five parts, its options and its presets."""

    name: str
    Config: type
    """Options of the task, a CheckedOptions."""
    presets: Mapping[str, Preset]
    data: type[Data]
    model: type[Model]
    objective: type[Objective]
    evaluator: type[Evaluator]
    files: type[Files] = Files

    @property
    def selection_metric(self) -> str:
        """The metric that decides which checkpoint is best; lower is better."""
        return self.evaluator.selection_metric

    def make(self, config: Any, seed: int, device: torch.device | str = "cpu") -> Task:
        """A task with its data, and networks initialised from the seed."""
        device = torch.device(device)
        data = self.data(config)
        metadata = data.metadata
        torch.manual_seed(seed)
        model = self.model(config, metadata)
        model.fit(data)
        for module in (model.generator, model.renderer):
            module.to(device)
        loaded = data.load(model, device)
        discriminators = {}
        for name, make in model.discriminators(loaded.memories).items():
            torch.manual_seed(seed + 1)
            discriminators[name] = make()
            discriminators[name].network.to(device)
        return self._joined(config, metadata, model, discriminators, loaded)

    def restore(self, config: Any, metadata: Metadata) -> Task:
        """A task without its data, for a trained generator: it infers, renders and draws.

        Raises KeyError and the like for metadata of another task.
        """
        if "data" not in metadata:
            raise KeyError("data")
        return self._joined(config, metadata, self.model(config, metadata), {}, None)

    def _joined(
        self,
        config: Any,
        metadata: Metadata,
        model: Model,
        discriminators: Mapping[str, Discriminator],
        loaded: LoadedData | None,
    ) -> Task:
        return Task(
            kind=self,
            config=config,
            model=model,
            objective=self.objective(config, model),
            evaluator=self.evaluator(config, model, metadata, loaded),
            files=self.files(config, model),
            discriminators=discriminators,
        )
