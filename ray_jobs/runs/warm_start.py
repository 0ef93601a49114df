"""``--from RUN[@STEP]``: a run that begins with the weights of another run's checkpoint.

It takes over the generator, and the discriminators that both runs have; neither optimizers nor progress.
"""

import dataclasses
import re

from aign.errors import UserError
from aign.storage.errors import StoreAway
from aign.storage.store import Store
from aign.training.engine import EngineState
from aign.training.players import make_engines
from aign.training.run_config import RunConfig
from aign.training.step import Engines
from ray_jobs.runs.checkpoints import Checkpoint, checkpoint_steps
from ray_jobs.runs.folder import checkpoint_of, differences, read_config
from ray_jobs.runs.job import Job

WEIGHTS = ("param/", "buffer/", "ema/")


def with_beginning(job: Job) -> Job:
    """The job with the absolute address and the step of the checkpoint it begins with, after proving that it can.

    A run that has begun already keeps the step it began with. Raises UserError for what is no run of this task, has
    no such checkpoint, or has networks of other shapes.
    """
    if job.run.init_from is None:
        return job
    source, step = split_address(job.run.init_from)
    begun = _begun_with(job)
    if begun and begun[0].uri == source.uri and step in (None, begun[1]):
        step = begun[1]
    else:
        try:
            before, step = _read_run(job, source), find_step(source, step)
        except StoreAway as away:
            raise away.as_user_error(source.uri) from None
    job = dataclasses.replace(job, run=dataclasses.replace(job.run, init_from=f"{source.uri}@{step}"))
    if not begun:
        engines = make_engines(job.run.make_task(), job.run.training)
        try:
            begin(job, engines)
        except _OtherShapes as other:
            options = differences(before.to_json()["options"], job.run.to_json()["options"])
            reason = f"its networks have other shapes: {other}" + (f" ({options})" if options else "")
            raise UserError(f"--from {job.run.init_from}", reason, "use the options of that run") from None
    return job


def begin(job: Job, engines: Engines) -> None:
    """Load the weights that the job begins with. Collective."""
    assert job.run.init_from
    other = fetch_beginning(job.run.init_from)
    engines.generator.load(_taken_over(engines.generator.state(), other.engines["generator"], parts=False))
    take_over_discriminators(engines, other)


def take_over_discriminators(engines: Engines, other: Checkpoint) -> None:
    """Load the weights of those discriminators that a checkpoint has too. Collective."""
    if engines.discriminators is not None and "discriminators" in other.engines:
        own = engines.discriminators.state()
        engines.discriminators.load(_taken_over(own, other.engines["discriminators"], parts=True))


def fetch_beginning(address: str) -> Checkpoint:
    """The checkpoint RUN@STEP. Raises UserError if it is gone, or not whole."""
    source, step = split_address(address)
    assert step is not None, "resolved before anything was started"
    try:
        return checkpoint_of(source, step)
    except FileNotFoundError:
        reason = "has no such checkpoint any more: a run keeps its newest two and its best"
        raise UserError(address, reason, "begin another run, from one that is there") from None


class _OtherShapes(Exception):
    """The first tensor that two networks do not share."""


def _taken_over(own: EngineState, other: EngineState, *, parts: bool) -> EngineState:
    """The weights of ``other`` and a new optimizer. With ``parts``, only top-level parts that both have, by name."""
    theirs = {path: tensor for path, tensor in other.tensors.items() if path.startswith(WEIGHTS)}
    mine = {path: tensor for path, tensor in own.tensors.items() if path.startswith(WEIGHTS)}
    if parts:
        shared = {_part(path) for path in theirs} & {_part(path) for path in mine}
        kept = {path: tensor for path, tensor in mine.items() if _part(path) not in shared}
        theirs = {path: tensor for path, tensor in theirs.items() if _part(path) in shared}
        theirs |= kept
    shapes, wanted = (
        {p: tuple(t.shape) for p, t in side.items() if not p.startswith("ema/")} for side in (theirs, mine)
    )
    for path in sorted(shapes.keys() | wanted.keys()):
        if shapes.get(path) != wanted.get(path):
            name = path.split("/", 1)[1]
            raise _OtherShapes(f"{name} was {shapes.get(path, 'not there')}, now {wanted.get(path, 'not there')}")
    return EngineState(theirs, {"updates": {}})


def _part(path: str) -> str:
    return path.split("/", 1)[1].split(".")[0]


def split_address(address: str) -> tuple[Store, int | None]:
    """A run and, if it is named, a step of it."""
    match = re.fullmatch(r"(.+?)(?:@(\d+))?", address)
    if not match:
        raise UserError(repr(address), "names no run", "give RUN or RUN@STEP")
    return Store(match[1]), int(match[2]) if match[2] else None


def _begun_with(job: Job) -> tuple[Store, int | None] | None:
    """What a run of this name that is there already began with."""
    if not job.folder.exists("config.json"):
        return None
    stored = read_config(job.folder).get("init_from")
    return split_address(stored) if stored else None


def _read_run(job: Job, source: Store) -> RunConfig:
    stored = read_config(source)
    if stored.get("task") != job.run.task:
        reason = f"is a run of task {stored.get('task')!r}, not {job.run.task!r}"
        raise UserError(f"--from {source.uri}", reason, "give a run of the same task")
    return RunConfig.from_json(stored)


def find_step(source: Store, step: int | None) -> int:
    """The step of a run's checkpoint, its newest by default. Raises UserError if it has none of that step."""
    steps = checkpoint_steps(source)
    if not steps:
        raise UserError(source.uri, "has no checkpoint", "train it further, or give another run")
    if step is not None and step not in steps:
        there = ", ".join(str(s) for s in sorted(steps))
        raise UserError(f"{source.uri}@{step}", f"has checkpoints of steps {there}", "give one of them")
    return steps[0] if step is None else step
