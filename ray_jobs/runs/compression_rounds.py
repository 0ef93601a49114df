"""Compression as jobs: a run for each round of projections, then one for the thin network's kernels.

RUN/projection/1    projections of the first round's layers; its export is the network that they fold to
RUN/projection/2    of the second round's
RUN                 relaxation and fine-tuning of what has become of it
"""

import dataclasses

from torch import nn
from torch.optim import Adam

from aign.compression.plan import Compression
from aign.compression.task import CompressedModel
from aign.storage.store import Store
from aign.tasks.base import Task
from aign.training.engine import EngineState, TorchEngine
from aign.training.run_config import RunConfig
from aign.training.step import Engines
from ray_jobs.runs.folder import deployed, open_export, read_config
from ray_jobs.runs.job import Job
from ray_jobs.runs.warm_start import fetch_beginning, split_address, take_over_discriminators

PROJECTION = "projection"
"""Folder of the rounds in a run's."""


def parts_before(job: Job) -> list[Job]:
    """The jobs that come before a job, in order: its rounds of projection."""
    plan = job.run.compression
    if plan is None or not plan.rounds:
        return []
    steps = [plan.projection_steps // len(plan.rounds)] * len(plan.rounds)
    steps[0] += plan.projection_steps - sum(steps)
    before: dict[str, int] = {}
    jobs: list[Job] = []
    for number, (layers, length) in enumerate(zip(plan.rounds, steps, strict=True), start=1):
        ranks = before | {name: plan.ranks[name] for name in layers}
        begins_with = jobs[-1].folder.uri if jobs else None
        own = dataclasses.replace(
            plan,
            ranks=ranks,
            before=before,
            part="projection",
            begins_with=begins_with,
            rounds=(),
            projection_steps=0,
        )
        jobs.append(_with(job, own, f"{job.name}/{PROJECTION}/{number}", length))
        before = ranks
    return jobs


def _with(job: Job, plan: Compression, name: str, steps: int) -> Job:
    training = dataclasses.replace(job.run.training, steps=steps, generator_lr=plan.schedule.projection_lr)
    return dataclasses.replace(job, name=name, run=dataclasses.replace(job.run, training=training, compression=plan))


def begin_compression(job: Job, task: Task, engines: Engines) -> None:
    """Load what a part of a compression begins with. Collective."""
    plan = job.run.compression
    assert plan is not None
    assert isinstance(task.model, CompressedModel)
    if plan.schedule.method == "scratch":
        return
    source = fetch_beginning(plan.source)
    config = RunConfig.from_json(read_config(split_address(plan.source)[0]))
    parts = parts_before(job)
    begins_with = parts[-1].folder.uri if parts else plan.begins_with
    thin = open_export(Store(begins_with)).task.model.generator.state_dict() if begins_with else None
    student = task.model.student(deployed(config, source), thin)
    engines.generator.load(_state(student))
    take_over_discriminators(engines, source)


def _state(module: nn.Module) -> EngineState:
    """A module's weights, as an engine that has never updated them would have them."""
    return TorchEngine(module, Adam(module.parameters())).state()
