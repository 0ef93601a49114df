"""What a task declares is looked at when it has been made, before anything is learnt from it."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from aign.data.streams import Sample, concatenate, draw
from aign.errors import UserError, did_you_mean
from aign.tasks.base import Task
from aign.tasks.stages import ADVERSARIAL, Stage
from aign.training.learning import learning_parts, part_of

NUM_SAMPLES = 2
"""Of each stream, to see which terms there are."""


def check_declared(task: Task, stages: Sequence[Stage]) -> None:
    """Raises UserError for a renderer that learns, for parts of the generator that are not there or overlap, and for
    stages that no run can follow.

    These are shares that do not add up, streams, discriminators and parts that are not there, stages in which nothing
    learns, and weights of terms that the task does not have. To see its terms, a few samples go through its networks,
    which is an error at once where shapes do not fit.
    """
    if not isinstance(task.model.renderer, nn.Module) or any(True for _ in task.model.renderer.parameters()):
        raise UserError(f"renderer of {task.name}", "has parameters", "learn them in the generator")
    whole = sum(stage.share for stage in stages)
    if abs(whole - 1) > 1e-6 or any(stage.share <= 0 for stage in stages):
        shares = ", ".join(f"{stage.name} {stage.share:g}" for stage in stages)
        raise UserError(
            f"stages {shares}", f"their shares add up to {whole:g}", "give each its part of the run, 1 in all"
        )
    _check_parts(task)
    for stage in stages:
        _check_names(task, stage)
        _check_trained(task, stage)
    own = task.model.generator
    task.model.generator = copy.deepcopy(own).eval()  # so that what goes through it here leaves nothing in it
    try:
        with torch.no_grad():
            for stage in stages:
                _check_weights(task, stage)
    finally:
        task.model.generator = own


def _check_names(task: Task, stage: Stage) -> None:
    known: Mapping[str, tuple[Sequence[str], Mapping[str, Any]]] = {
        "stream": ((*stage.labelled, *stage.unlabelled), task.data.streams),
        "discriminator": (stage.discriminators, task.discriminators),
    }
    for what, (names, there) in known.items():
        for name in names:
            if name not in there:
                reason = f"there is no {what} {name}"
                raise UserError(f"stage {stage.name}", reason, did_you_mean(name, there) if there else "declare it")
    if not (stage.labelled or stage.unlabelled):
        raise UserError(f"stage {stage.name}", "reads no stream", "name one that is labelled or unlabelled")
    if stage.discriminators and not stage.unlabelled:
        raise UserError(f"stage {stage.name}", "has discriminators but nothing unlabelled", "name a stream for them")


def _check_parts(task: Task) -> None:
    parts, modules = task.model.generator_parts, dict(task.model.generator.named_modules())
    for name, part in parts.items():
        what = f"part {name} of the generator"
        if not name or name not in modules:
            raise UserError(what, "is none of its submodules", did_you_mean(name, [n for n in modules if n]))
        if outer := next((other for other in parts if name.startswith(f"{other}.")), None):
            raise UserError(what, f"is inside of part {outer}", "declare one of them")
        if not 0 < part.lr_factor < math.inf:
            raise UserError(what, f"has lr_factor {part.lr_factor:g}", "give more than zero, or freeze it")


def _check_trained(task: Task, stage: Stage) -> None:
    """A stage trains parts that there are, and at least one parameter."""
    parts, what = task.model.generator_parts, f"stage {stage.name}"
    for name in stage.trains or ():
        if name not in parts:
            remedy = did_you_mean(name, parts) if parts else "declare it in the model's generator_parts"
            raise UserError(what, f"trains {name}, which is no part of the generator", remedy)
        if parts[name].frozen:
            raise UserError(what, f"trains {name}, which is frozen", "leave it out, or do not freeze it")
    learning = learning_parts(parts, stage.trains)
    if not any(part_of(parameter, parts) in learning for parameter, _ in task.model.generator.named_parameters()):
        raise UserError(what, "trains nothing", "name a part with parameters in trains, or freeze less")


def _check_weights(task: Task, stage: Stage) -> None:
    terms = _terms(task, stage)
    for name in stage.weights:
        if name not in terms and not name.startswith(ADVERSARIAL):
            reason = f"weighs a term {name}, which there is not"
            raise UserError(f"stage {stage.name}", reason, did_you_mean(name, terms) if terms else "leave it out")


def _terms(task: Task, stage: Stage) -> set[str]:
    """The names of a stage's loss terms, but for the adversarial ones."""
    terms: set[str] = set()
    if labelled := _samples(task, stage.labelled):
        terms |= task.objective.supervision(task.model.generator(labelled["observed"]), labelled["truth"]).keys()
    if unlabelled := _samples(task, stage.unlabelled):
        inferred = task.model.generator(unlabelled["observed"])
        rendered = task.model.renderer(inferred, unlabelled["observed"])
        terms |= task.objective.reconstruction(rendered, unlabelled["observed"], 0.0).keys()
        terms |= task.objective.priors(inferred).keys()
    return terms


def _samples(task: Task, streams: Sequence[str]) -> Sample | None:
    drawn = [draw(name, task.data.streams[name], NUM_SAMPLES, seed=0, step=0) for name in streams]
    return concatenate(drawn) if drawn else None
