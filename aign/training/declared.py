"""What a task declares is looked at when it has been made, before anything is learnt from it."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from aign.data.streams import Sample, Share, concatenate, draw
from aign.errors import UserError, did_you_mean
from aign.tasks.base import Task
from aign.tasks.stages import ADVERSARIAL, Stage

NUM_SAMPLES = 2
"""Of each stream, to see which terms there are."""


def check_declared(task: Task, stages: Sequence[Stage]) -> None:
    """Raises UserError for a renderer that learns, and for stages that no run can follow.

    These are shares that do not add up, streams and discriminators that are not there, and weights of terms that
    the task does not have. To see its terms, a few samples go through its networks, which is an error at once where
    shapes do not fit.
    """
    if not isinstance(task.model.renderer, nn.Module) or any(True for _ in task.model.renderer.parameters()):
        raise UserError(f"renderer of {task.name}", "has parameters", "learn them in the generator")
    whole = sum(stage.share for stage in stages)
    if abs(whole - 1) > 1e-6 or any(stage.share <= 0 for stage in stages):
        shares = ", ".join(f"{stage.name} {stage.share:g}" for stage in stages)
        raise UserError(
            f"stages {shares}", f"their shares add up to {whole:g}", "give each its part of the run, 1 in all"
        )
    for stage in stages:
        _check_names(task, stage)
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
    drawn = [draw(name, task.data.streams[name], NUM_SAMPLES, seed=0, step=0, share=Share()) for name in streams]
    return concatenate(drawn) if drawn else None
