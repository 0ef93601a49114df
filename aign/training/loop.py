"""The loop: stages, steps, and what is recorded on the way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from aign.data.streams import WorkerSlice, concatenate, draw, rows
from aign.errors import UserError, did_you_mean
from aign.evaluation.result import Evaluation, Split
from aign.tasks.base import Task
from aign.tasks.parts import Factors
from aign.tasks.stages import Stage, num_parts
from aign.training.config import TrainingConfig
from aign.training.interval import Interval
from aign.training.notice import Notice
from aign.training.step import Batch, Engines, adversarial_step
from aign.training.workers import rank, world_size

EVALUATION_BATCH = 512


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands. With the engines' states and the config it decides the rest of the run."""

    step: int = 0
    """Adversarial steps done: the t of the streams."""
    clock: int = 0
    """What stages and schedules go by: a step counts one, or two if the rule made two generator updates."""
    stage: int = 0
    stage_clock: int = 0
    generator_updates: int = 0
    unlogged: dict[str, float] = field(default_factory=dict)
    """In a checkpoint between two lines of metrics: sums of the loss terms since the last line."""
    unlogged_steps: int = 0

    def after(self, updates: int) -> "Progress":
        ticks = max(1, updates)
        return replace(
            self,
            step=self.step + 1,
            clock=self.clock + ticks,
            stage_clock=self.stage_clock + ticks,
            generator_updates=self.generator_updates + updates,
        )


@runtime_checkable
class Recorder(Protocol):
    """What a run tells about itself, called on every worker at the same steps."""

    def log(self, progress: Progress, stage: Stage, values: dict[str, float]) -> None:
        """Means of the loss terms since the last call."""

    def evaluation(self, progress: Progress, evaluation: Evaluation, draw_picture: Callable[[], Figure]) -> None:
        """Metrics on the validation split; the picture is drawn when called."""

    def checkpoint(self, progress: Progress, engines: Engines) -> None:
        """A moment from which the run can be continued."""


def train(
    task: Task,
    engines: Engines,
    config: TrainingConfig,
    recorder: Recorder,
    start: Progress | None = None,
    look: Callable[[], Notice] = lambda: Notice.NONE,
    until: int | None = None,
) -> Progress:
    """Run a task's stages from ``start`` (default: the beginning) to the end, and return how far it came.

    ``look`` asks whether there is a notice for this worker: every few seconds, at the same step on every worker. Where
    the run is told to stop, or after the step ``until``, it ends with a checkpoint before its last stage does
    (``is_finished`` tells).
    Raises NotTrainable when a loss term is not finite, naming the step and the term.
    """
    progress = start or Progress()
    stages = task.objective.stages
    lengths = stage_lengths(stages, config.steps)
    weight = own_slice(task.objective.stages, config).weight
    interval = Interval(config.batch_size, weight, progress.step, progress.unlogged, progress.unlogged_steps)
    progress = replace(progress, unlogged={}, unlogged_steps=0)
    finished = False
    heeded = Notice.NONE

    def due(every: int) -> bool:
        return progress.step % every == 0 or finished

    while progress.stage < len(stages):
        stage = stages[progress.stage]
        if not lengths[progress.stage]:  # its share is less than a step
            progress = replace(progress, stage=progress.stage + 1)
            continue
        with interval.data_wait():
            batch = draw_batch(task, stage, config, progress.step)
        for engine in (engines.generator, engines.discriminators):
            if engine is not None:
                engine.set_lr_factor(config.lr_factor(progress.clock))
        done = min(1.0, progress.clock / config.steps)
        terms, updates = adversarial_step(task, engines, stage, batch, config, progress.step, done)
        interval.add(terms)
        progress = progress.after(updates)
        stage_done = progress.stage_clock >= lengths[progress.stage]
        finished = stage_done and not any(lengths[progress.stage + 1 :])
        # a checkpoint or a new stage ends the interval too, so that a resumed run logs the same means
        notice, far_enough = heeded, progress.step == until
        if due(config.log_every) or due(config.checkpoint_every) or stage_done or far_enough:
            values, notice = interval.close(look())
            recorder.log(progress, stage, values)
        elif interval.look_is_due:
            notice = interval.look(look())
        if far_enough and not finished:
            notice = Notice.STOP
        if due(config.evaluate_every):
            with interval.paused():
                with engines.generator.averaged():
                    evaluation, inferred = evaluate(task, engines.generator.module)
                draw_picture = partial(task.evaluator.picture, inferred, task.data.validation)
                recorder.evaluation(progress, evaluation, draw_picture)
        if stage_done:
            progress = replace(progress, stage=progress.stage + 1, stage_clock=0)
        if due(config.checkpoint_every) or notice > heeded:
            with interval.paused():
                unlogged, steps = interval.unlogged()
                recorder.checkpoint(replace(progress, unlogged=unlogged, unlogged_steps=steps), engines)
        heeded = max(heeded, notice)
        if heeded == Notice.STOP:
            break
    return progress


def is_finished(task: Task, progress: Progress) -> bool:
    """Whether a run of the task has come to the end of its last stage."""
    return progress.stage >= len(task.objective.stages)


def reopened(progress: Progress, stages: Sequence[Stage], steps: int) -> Progress:
    """Where a run that had come to its end stands in one of so many steps: in its last stage, if that is longer."""
    if progress.stage < len(stages) or progress.clock >= steps:
        return progress
    last = max(index for index, length in enumerate(stage_lengths(stages, steps)) if length)
    before = sum(stage_lengths(stages, steps)[:last])
    return replace(progress, stage=last, stage_clock=progress.clock - before)


def stage_lengths(stages: Sequence[Stage], steps: int) -> list[int]:
    """Ticks of the clock for each stage; they add up to ``steps``."""
    ends, done = [], 0.0
    for stage in stages:
        done += stage.share
        ends.append(round(steps * done / sum(s.share for s in stages)))
    return [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def draw_batch(task: Task, stage: Stage, config: TrainingConfig, step: int) -> Batch:
    """This worker's slice of the batch of a step: a pure function of seed, step and worker."""
    own = own_slice(task.objective.stages, config)

    def mix(names: tuple[str, ...]):
        size = config.batch_size // max(1, len(names))
        parts = [draw(n, task.data.streams[n], size, seed=config.seed, step=step, worker=own) for n in names]
        return concatenate(parts) if parts else None

    def remember(name: str) -> Factors:
        memory = task.discriminators[name].memory
        return draw(f"memory/{name}", memory, config.batch_size, seed=config.seed, step=step, worker=own)["factors"]

    return Batch(
        labelled=mix(stage.labelled),
        unlabelled=mix(stage.unlabelled),
        remembered={name: remember(name) for name in stage.discriminators},
        parts=own.sizes,
        weight=own.weight,
    )


def own_slice(stages: Sequence[Stage], config: TrainingConfig) -> WorkerSlice:
    """This worker's part of every batch, in portions that every stream's part can be divided into."""
    return WorkerSlice(rank(), world_size(), config.batch_size // num_parts(stages), config.accumulate)


@torch.no_grad()
def infer_all(generator: nn.Module, observed: dict[str, Tensor]) -> Factors:
    """What a generator infers of any number of samples, in evaluation mode."""
    was_training = generator.training
    generator.eval()
    chunks = [
        generator({name: values[start : start + EVALUATION_BATCH] for name, values in observed.items()})
        for start in range(0, rows(observed), EVALUATION_BATCH)
    ]
    generator.train(was_training)
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}


def evaluate(task: Task, generator: nn.Module, split: Split = "validation") -> tuple[Evaluation, Factors]:
    """Metrics on a split of the task's data, and what was inferred there.

    Raises UserError if the metric that selects checkpoints is none of them.
    """
    samples = task.data.samples(split)
    inferred = infer_all(generator, samples["observed"])
    summary = task.evaluator.evaluate(inferred, samples)
    evaluation = Evaluation(data=task.metadata["data"], split=split, **vars(summary))
    metric = task.selection_metric
    if metric not in evaluation.metrics:
        reason, remedy = "is not measured", did_you_mean(metric, evaluation.metrics)
        raise UserError(f"selection_metric = {metric}", reason, remedy)
    return evaluation, inferred
