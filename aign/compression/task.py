"""A task whose generator is compressed: its own data, renderer, discriminators and terms, and a teacher's features."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from aign.compression.anatomy import dissect
from aign.compression.cost import cost_of, latency_ratio
from aign.compression.factorising import factorised
from aign.compression.folding import Projections, first_columns, folded
from aign.compression.plan import STARTS, Compression
from aign.compression.source import Source
from aign.compression.starts import first_projections
from aign.compression.students import FEATURES, NETWORK, Projected, Scratch, Student, Teacher, Thin
from aign.compression.thinning import BACK, copied_thin, take_over
from aign.data.streams import Sample, Stream, draw
from aign.evaluation.result import Summary
from aign.seeding import generator_alone
from aign.tasks.base import Task
from aign.tasks.parts import Evaluator, Factors, GeneratorPart, Model, Objective, Observed, Terms
from aign.tasks.stages import Stage

CALIBRATION = 128
"""Samples that projections begin with and features are normalised by."""
TIMED = 16
"""Samples that latency is measured on."""
COSTS = ("macs_percent", "parameters_percent", "activations_percent", "latency_percent")
Weights = Mapping[str, Tensor]


def compressed(task: Task, compression: Compression, seed: int, device: torch.device | str = "cpu") -> Task:
    """The task with a student in its generator's place, of the right sizes but with nothing learnt yet."""
    if compression.shapes:
        take_over(task.model.generator, {name: torch.zeros(shape) for name, shape in compression.shapes.items()})
    model = CompressedModel(task, compression, seed, device)
    return replace(
        task,
        model=model,
        objective=CompressedObjective(task.objective, compression),
        evaluator=CompressedEvaluator(task.evaluator, model),
    )


class CompressedObjective(Objective):
    """The stages of a compression: a student learns a teacher's features, then the task's own terms as well."""

    def __init__(self, own: Objective, compression: Compression) -> None:
        super().__init__(own.config, own.model)
        self.own, self.compression = own, compression

    @classmethod
    def plan(cls, config: Any) -> Sequence[Stage]:
        raise NotImplementedError("the stages depend on the compression too")

    @property
    def stages(self) -> list[Stage]:
        own, schedule = list(self.own.stages), self.compression.schedule
        if schedule.method == "scratch":
            return [replace(stage, trains=None) for stage in own]
        last = replace(own[-1], trains=None)
        mixture = {FEATURES: 1.0} | {term: schedule.gamma * weight for term, weight in last.weights.items()}
        if self.compression.part == "projection":
            return [replace(last, name="projection", share=1.0, weights=mixture)]
        return [
            replace(last, name="relaxation", share=schedule.relaxation_share, weights={FEATURES: 1.0}),
            replace(last, name="fine-tuning", share=1.0 - schedule.relaxation_share, weights=mixture),
        ]

    def supervision(self, inferred: Factors, truth: Factors) -> Terms:
        return self.own.supervision(inferred, truth) | _features(inferred)

    def reconstruction(self, rendered: Observed, observed: Observed, done: float) -> Terms:
        return self.own.reconstruction(rendered, observed, done)

    def priors(self, inferred: Factors) -> Terms:
        return self.own.priors(inferred) | _features(inferred)


class CompressedEvaluator(Evaluator):
    """The task's own metrics, and the student's costs in percent of the source's."""

    def __init__(self, own: Evaluator, model: "CompressedModel") -> None:
        super().__init__(own.config, model, own.metadata, own.loaded)
        self.own = own
        self.selection_metric = own.selection_metric  # type: ignore[misc]  # of the task, not of this class

    def measure(self, inferred: Factors, samples: Sample) -> dict[str, Tensor]:
        return self.own.measure(inferred, samples)

    def summarize(self, measured: dict[str, Tensor]) -> Summary:
        summary = self.own.summarize(measured)
        return replace(summary, metrics={**summary.metrics, **self.costs})

    def picture(self, inferred: Factors, samples: Sample) -> Figure:
        return self.own.picture(inferred, samples)

    @cached_property
    def costs(self) -> dict[str, float]:
        """In percent of those of the source with its batch norms folded: multiplications, parameters, memory of
        activations, and seconds for ``TIMED`` samples (on one thread of a CPU)."""
        source, thin = self.model.source, self.model.thin_network()
        before, after = source.cost, cost_of(thin, source.example)
        observed = {name: values[:TIMED] for name, values in self.data.validation["observed"].items()}
        thin, whole = thin.to(self.model.device), copy.deepcopy(source.whole).to(self.model.device)
        return {
            "macs_percent": 100 * after.macs / before.macs,
            "parameters_percent": 100 * after.parameters / before.parameters,
            "activations_percent": 100 * after.activation_bytes / before.activation_bytes,
            "latency_percent": 100 * latency_ratio(thin, whole, observed),
        }


class CompressedModel(Model):
    """A model whose generator is a student of what it was."""

    def __init__(self, task: Task, compression: Compression, seed: int, device: torch.device | str) -> None:
        self.own, self.compression, self._seed, self.device = task.model, compression, seed, device
        self._task = task
        self.source = Source.of(task)
        self.generator = self._student(None, self._first_columns).to(device)

    @property
    def generator(self) -> Any:  # type: ignore[override]
        """The student, also of the parts of the task that know nothing of its compression."""
        return self.own.generator

    @generator.setter
    def generator(self, student: nn.Module) -> None:
        self.own.generator = student

    @property
    def renderer(self) -> nn.Module:  # type: ignore[override]
        return self.own.renderer

    @cached_property
    def generator_parts(self) -> dict[str, GeneratorPart]:  # type: ignore[override]
        """The learning rates of the task's parts, where the student has them; all of a student learns."""
        modules = dict(self.generator.named_modules())
        own = {f"{NETWORK}{name}": part.lr_factor for name, part in self.own.generator_parts.items()}
        return {name: GeneratorPart(lr_factor=factor) for name, factor in own.items() if name in modules}

    def example(self, count: int, random: torch.Generator) -> Observed:
        return self.own.example(count, random)

    def thin_network(self) -> nn.Module:
        """The plain network that the student has become, a copy."""
        return copied_thin(self.source.network, self.generator.thin_weights())

    def deployed(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        student = self._student(None, self._first_columns)
        student.load_state_dict(weights)
        return {name: value.detach() for name, value in student.thin_weights().items()}

    def student(self, source: Weights, thin: Weights | None = None) -> Student:
        """What this run begins with, from the source's weights and those that an earlier part has come to.

        A function of the weights and the seed, whoever computes it.
        """
        self.source.load(source)
        student = self._student(thin, self._first_projections)
        if not isinstance(student, Scratch):
            student.teacher.calibrate(self._calibration)
        return student

    @cached_property
    def _calibration(self) -> dict[str, Tensor]:
        return observed_of(self._task.data.streams, self._task.objective.stages[-1], CALIBRATION, self._seed)

    def _student(self, thin: Weights | None, first: Any) -> Student:
        ranks, schedule = dict(self.compression.ranks), self.compression.schedule
        anatomy, whole = self.source.anatomy, self.source.weights
        if schedule.method == "scratch":
            return Scratch(self._untrained(whole, ranks))
        if self.compression.part == "projection":
            before = self.compression.before
            start = thin or folded(anatomy, whole, self._first_columns(before, whole))
            own = {name: rank for name, rank in ranks.items() if name not in before}
            return Projected(self.source.network, anatomy, whole, start, first(own, start))
        if schedule.method == "factorisation":
            teacher = Teacher(anatomy, whole, ranks)
            network = copied_thin(self.source.network, factorised(anatomy, whole, ranks))
            names = {layer: f"{layer}.{BACK}" for layer in ranks}
            return Thin(network, dissect(network, self.source.example), teacher, names)
        teacher = Teacher(anatomy, whole, anatomy.readers(*ranks))
        network = copied_thin(self.source.network, thin or folded(anatomy, whole, first(ranks, whole)))
        return Thin(network, anatomy, teacher, {layer: layer for layer in teacher.nodes if layer not in ranks})

    def _first_columns(self, ranks: Mapping[str, int], weights: Weights) -> Projections:
        """Something of the right sizes."""
        return first_columns(self.source.anatomy, ranks)

    def _first_projections(self, ranks: Mapping[str, int], weights: Weights) -> Projections:
        schedule = self.compression.schedule
        start = STARTS.get(schedule.method, schedule.start)
        return first_projections(start, self.source.anatomy, weights, ranks, self._calibration, self._seed)

    def _untrained(self, whole: Weights, ranks: Mapping[str, int]) -> nn.Module:
        """The source made thin, with batch norms if it has any, and with new weights."""
        thin = folded(self.source.anatomy, whole, self._first_columns(ranks, whole))
        norms = {norm.name: norm.layer for norm in self.source.before.batch_norms}
        sizes = dict(self.source.network.state_dict())
        for name, value in sizes.items():
            layer = norms.get(name.rpartition(".")[0], "")
            if layer in ranks and value.ndim:
                sizes[name] = value.new_zeros(ranks[layer])
            elif name in thin:
                sizes[name] = thin[name]
        network = copied_thin(self.source.network, sizes)
        with generator_alone():
            torch.manual_seed(self._seed)
            for module in network.modules():
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()  # type: ignore[operator]
        return network


def observed_of(streams: Mapping[str, Stream], stage: Stage, count: int, seed: int) -> dict[str, Tensor]:
    """What is observed of the first samples that a stage reads, on a CPU."""
    name = (*stage.unlabelled, *stage.labelled)[0]
    sample = draw(name, streams[name], count, seed=seed, step=0)
    return {name: values.cpu() for name, values in sample["observed"].items()}


def _features(inferred: Factors) -> Terms:
    return {FEATURES: inferred[FEATURES].mean()} if FEATURES in inferred else {}
