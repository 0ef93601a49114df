"""The adversarial step, as in the paper: discriminators learn, the rule decides, generators learn."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from aign.data.streams import Sample, joined, rows
from aign.losses.adversarial import discriminator_loss, generator_loss, r1_penalty
from aign.tasks.base import Task
from aign.tasks.parts import Discriminator, Factors, GeneratorPart, Terms
from aign.tasks.stages import Stage
from aign.training.batch_norm import without_statistics
from aign.training.config import TrainingConfig
from aign.training.engine import Engine
from aign.training.learning import REST, only_learning
from aign.training.precision import HALF_GRADIENT_SCALE, Precision, in_precision
from aign.training.workers import mean_over_workers

Inferred = tuple[Factors | None, Factors | None]
"""What is inferred of labelled and of unlabelled samples."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A worker's samples of one step, or a part of them."""

    labelled: Sample | None
    unlabelled: Sample | None
    remembered: dict[str, Factors]
    """Memories by discriminator."""
    parts: tuple[int, ...] = (1,)
    """Portions of each part that it is worked off in; each kind of sample divides into equally many portions."""
    weight: float = 1.0
    """Of its mean in the mean over workers; those of its parts add up to it."""

    def split(self) -> list["Batch"]:
        """Its parts, or itself if there is one."""
        ends = [0, *accumulate(self.parts)]
        return [self._part(first, last) for first, last in pairwise(ends)] if len(self.parts) > 1 else [self]

    def _part(self, first: int, last: int) -> "Batch":
        def cut(tensors: Factors) -> Factors:
            portion = rows(tensors) // sum(self.parts)
            return {name: values[first * portion : last * portion] for name, values in tensors.items()}

        def sample(whole: Sample | None) -> Sample | None:
            return whole and {group: cut(tensors) for group, tensors in whole.items()}

        return Batch(
            labelled=sample(self.labelled),
            unlabelled=sample(self.unlabelled),
            remembered={name: cut(factors) for name, factors in self.remembered.items()},
            parts=(last - first,),
            weight=self.weight * (last - first) / sum(self.parts),
        )


@dataclass(frozen=True, kw_only=True)
class Engines:
    """The two players. All discriminators live in one engine, as an ``nn.ModuleDict`` by name."""

    generator: Engine
    discriminators: Engine | None

    @contextmanager
    def learning(self, task: Task, stage: Stage) -> Iterator[None]:
        """While it lasts, only what a stage trains can learn: parts of the generator, and discriminators."""
        with ExitStack() as stack:
            stack.enter_context(only_learning(self.generator.module, task.model.generator_parts, stage.trains))
            if self.discriminators is not None:
                networks = self.discriminators.module
                each = {name: GeneratorPart() for name, _ in networks.named_children()}
                stack.enter_context(only_learning(networks, each, (*stage.discriminators, REST)))
            yield


def adversarial_step(
    task: Task, engines: Engines, stage: Stage, batch: Batch, config: TrainingConfig, step: int, done: float = 0.0
) -> tuple[Terms, int]:
    """One step of a stage: all its loss terms (unweighted, this worker's) and generator updates made.

    ``done`` is the fraction of the run that is done.
    """
    with engines.learning(task, stage):
        return _learn(task, engines, stage, batch, config, step, done)


def _learn(
    task: Task, engines: Engines, stage: Stage, batch: Batch, config: TrainingConfig, step: int, done: float
) -> tuple[Terms, int]:
    generator, discriminators = engines.generator.module, engines.discriminators
    parts = batch.split()
    # one forward serves both phases; of several parts it would keep all graphs in memory
    inferred = infer(generator, batch, config.precision) if len(parts) == 1 else None

    adversarial: Terms = {}
    if discriminators is not None and stage.discriminators:
        for part in parts:
            _, unlabelled = inferred or infer_without_grad(generator, part, config.precision)
            terms = discriminator_terms(task, stage, discriminators.module, part, unlabelled, config, step)
            discriminators.backward(part.weight * total(terms, {name: 1.0 for name in terms}))
            adversarial = added(adversarial, terms, part.weight / batch.weight)
        discriminators.step()

    with frozen(discriminators):

        def judge(part: Batch, inferred: Inferred) -> Terms:
            return generator_terms(task, stage, discriminators, part, *inferred, config, done)

        terms = {}
        if inferred:
            terms = judge(batch, inferred)
        elif config.update_rule != "always":  # which needs losses before there is anything to learn from
            for part in parts:
                ahead = judge(part, infer_without_grad(generator, part, config.precision))
                terms = added(terms, ahead, part.weight / batch.weight)
        updates = num_generator_updates(stage, adversarial, terms, batch.weight, config, step)
        for update in range(updates):
            ahead, terms = terms, {}
            for part in parts:
                fresh = update == 0 and inferred
                learnt = ahead if fresh else judge(part, infer(generator, part, config.precision))
                engines.generator.backward(part.weight * total(learnt, stage.weights))
                terms = added(terms, learnt, part.weight / batch.weight)
            engines.generator.step()
    return added({}, adversarial | terms, 1.0), updates


def added(terms: Terms, part: Terms, share: float) -> Terms:
    """Terms with those of one more part of the batch."""
    if share == 1.0:
        return {name: term.detach() for name, term in part.items()}
    return {name: terms.get(name, 0.0) + share * term.detach() for name, term in part.items()}


def infer(generator: nn.Module, batch: Batch, precision: Precision) -> Inferred:
    """G(x) of labelled and unlabelled samples: in one pass if they observe the same names, else in one pass each.

    Under batch norm, samples of one pass are one batch.
    """
    labelled, unlabelled = (sample and sample["observed"] for sample in (batch.labelled, batch.unlabelled))
    if labelled and unlabelled and labelled.keys() == unlabelled.keys():
        inferred = in_precision(precision, generator, joined([labelled, unlabelled]))
        split = {name: value.split([rows(labelled), rows(unlabelled)]) for name, value in inferred.items()}
        return {name: first for name, (first, _) in split.items()}, {name: last for name, (_, last) in split.items()}
    return (
        in_precision(precision, generator, labelled) if labelled else None,
        in_precision(precision, generator, unlabelled) if unlabelled else None,
    )


@torch.no_grad()
def infer_without_grad(generator: nn.Module, batch: Batch, precision: Precision) -> Inferred:
    """G(x) that nothing is learnt from: no graph, and batch norm does not count it."""
    with without_statistics([generator]):
        return infer(generator, batch, precision)


def discriminator_terms(
    task: Task,
    stage: Stage,
    networks: nn.Module,
    batch: Batch,
    inferred: Factors | None,
    config: TrainingConfig,
    step: int,
) -> Terms:
    """-log D(M) - log(1 - D(G(x))) for each discriminator; inferred and remembered go through in one pass."""
    assert inferred is not None, f"stage {stage.name} has discriminators but no unlabelled data"
    penalty = config.penalty_weight(step)
    terms = {}
    for name in stage.discriminators:
        sees = task.discriminators[name].sees
        remembered = sees(batch.remembered[name]).detach().requires_grad_(penalty > 0)
        imagined = sees(inferred).detach()
        network = networks.get_submodule(name)
        logits = in_precision(config.precision, network, torch.cat([remembered, imagined]))
        real, fake = logits.split([len(remembered), len(imagined)])
        terms[f"discriminator/{name}"] = discriminator_loss(real, fake, config.adversarial_loss)
        if penalty > 0:
            scale = HALF_GRADIENT_SCALE if config.precision == "fp16" else 1.0
            terms[f"r1/{name}"] = 0.5 * penalty * r1_penalty(real, remembered, scale)
        elif config.r1 > 0:  # so that the mean of what is recorded is that of the penalty
            terms[f"r1/{name}"] = real.new_zeros(())
    return terms


def generator_terms(
    task: Task,
    stage: Stage,
    discriminators: Engine | None,
    batch: Batch,
    labelled: Factors | None,
    unlabelled: Factors | None,
    config: TrainingConfig,
    done: float,
) -> Terms:
    """Supervision on labelled samples; reconstruction, priors and -log D(G(x)) on unlabelled ones."""
    terms: Terms = {}
    if batch.labelled is not None and labelled is not None:
        terms |= task.objective.supervision(labelled, batch.labelled["truth"])
    if batch.unlabelled is not None and unlabelled is not None:
        observed = batch.unlabelled["observed"]
        terms |= task.objective.reconstruction(task.model.renderer(unlabelled, observed), observed, done)
        terms |= task.objective.priors(unlabelled)
        for name in stage.discriminators:
            network = discriminators.module.get_submodule(name)  # type: ignore[union-attr]
            terms[f"adversarial/{name}"] = generator_loss(
                logits_of_inferred(
                    network, task.discriminators[name], unlabelled, batch.remembered[name], config.precision
                ),
                config.adversarial_loss,
            )
    return terms


def logits_of_inferred(
    network: nn.Module, discriminator: Discriminator, inferred: Factors, remembered: Factors, precision: Precision
) -> Tensor:
    """D(G(x)). Under batch norm a logit depends on its batch, so memories keep it company as in the other phase."""
    seen = discriminator.sees(inferred)
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return in_precision(precision, network, seen)
    return in_precision(precision, network, torch.cat([discriminator.sees(remembered), seen]))[-len(seen) :]


def num_generator_updates(
    stage: Stage, adversarial: Terms, terms: Terms, weight: float, config: TrainingConfig, step: int
) -> int:
    """The update rule, decided from means over workers so that all of them take the same branch.

    Only the paper's rule looks at losses, and only then does the host wait for the device.
    """
    if config.update_rule == "always" or not stage.discriminators:
        return 1
    if config.update_rule == "ratio":
        return config.generator_updates(step, 0.0, 0.0)
    losses = torch.stack(
        [
            torch.stack([adversarial[f"discriminator/{name}"] for name in stage.discriminators]).mean(),
            torch.stack([terms[f"adversarial/{name}"] for name in stage.discriminators]).mean(),
        ]
    )
    return config.generator_updates(step, *mean_over_workers(losses * weight).tolist())


def total(terms: Terms, weights: Mapping[str, float]) -> Tensor:
    """The weighted sum of the terms that are on."""
    return torch.stack([weights[name] * terms[name] for name in weights if name in terms]).sum()


@contextmanager
def frozen(engine: Engine | None) -> Iterator[None]:
    """While the generator learns, discriminators pass gradients through but collect none."""
    learning = [p for p in engine.module.parameters() if p.requires_grad] if engine is not None else []
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
