"""The command line of compression: which run, how much is to be left of it, and how it is trained."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from annotated_types import Gt, Lt
from rich.table import Table

from aign.compression.cost import latency_ratio
from aign.compression.factorising import factorised_macs, factorised_within_macs
from aign.compression.folding import first_columns, num_inputs
from aign.compression.plan import PROJECTS, Compression, Schedule
from aign.compression.ranks import Ranks, largest_within, macs, parse_ranks, uniform, uniform_within_macs
from aign.compression.rounds import in_rounds
from aign.compression.source import Source
from aign.compression.task import TIMED
from aign.errors import UserError
from aign.options import CheckedOptions
from aign.storage.store import Store
from aign.trained import Trained
from aign.training.config import TrainingConfig
from aign.training.run_config import RunConfig
from ray_jobs.cli.options import Command, DryRun, parse_options
from ray_jobs.runs.folder import open_run
from ray_jobs.runs.job import Job, Placement, new_name
from ray_jobs.runs.warm_start import find_step, split_address

USAGE = "aign compress RUN[@STEP] --ranks ... | --flops 0.5 | --latency 0.4 [options]"
STEPS = 1000
LOOKS = 7
"""Thin networks that are timed to find one that is quick enough."""

Part = Annotated[float, Gt(0), Lt(1)]


@dataclass(frozen=True, kw_only=True)
class Size(CheckedOptions):
    """How much is to be left."""

    ranks: str | None = None
    """Channels that layers keep: 0.5 (half of all), or 'layers.2.*=0.5,layers.8=12', by patterns of their names; a
    layer that no pattern matches stays as it is. --dry-run tells the names."""
    flops: Part | None = None
    """The part of the multiplications that may be left; all layers keep the same part of their channels."""
    latency: Part | None = None
    """The part of the seconds that may be left, as measured here on one thread."""


@dataclass(frozen=True)
class Opened:
    """A run to compress, and its network."""

    trained: Trained
    source: Source
    address: str


def opened(address: str) -> Opened:
    """The run RUN[@STEP]. Raises UserError for what is none, or has no such checkpoint."""
    run, step = split_address(address)
    return _opened(run.uri, find_step(run, step))


@lru_cache(maxsize=1)
def _opened(run: str, step: int) -> Opened:
    trained = open_run(run, step)
    return Opened(trained, Source.of(trained.task), f"{run}@{step}")


def parse_compression(argv: Sequence[str]) -> Command:
    """``RUN[@STEP] [options]`` to a job. Raises UserError for what cannot be."""
    if not argv or argv[0].startswith("-"):
        if argv and argv[0] in ("-h", "--help"):
            print(f"usage: {USAGE}\n\nOptions: aign compress RUN --help")
            raise SystemExit(0)
        raise UserError(argv[0] if argv else "no run", "a run comes first", USAGE)
    subject = opened(argv[0])
    before: RunConfig = subject.trained.run
    kinds = (Placement, Size, Schedule, TrainingConfig, DryRun)
    learnt = dataclasses.asdict(before.training) | {"steps": STEPS, "lr_schedule": "cosine", "warmup_steps": 0}
    place, size, schedule, training, what = parse_options(
        kinds,
        ({}, {}, {}, learnt, {}),
        list(argv[1:]),
        prog=f"aign compress {argv[0]}",
        description="Make the network of a run thinner.",
    )
    ranks = _ranks(subject.source, size, schedule)
    plan = _plan(subject, schedule, ranks, training.steps)
    if plan.projection_steps >= training.steps:
        reason = f"too few: {plan.projection_steps} go to rounds of projection, and the rest has a step at least"
        raise UserError(f"--steps {training.steps}", reason, f"give {plan.projection_steps + 1} or more")
    own = dataclasses.replace(training, steps=training.steps - plan.projection_steps)
    if plan.part == "projection":
        own = dataclasses.replace(own, generator_lr=schedule.projection_lr)
    run = dataclasses.replace(before, training=own, init_from=None, compression=plan)
    name = place.name or new_name(f"{split_address(argv[0])[0].name}-compressed")
    place = dataclasses.replace(place, storage=Store(place.storage).uri)
    return Command(Job(run=run, placement=place, name=name), what)


def _ranks(source: Source, size: Size, schedule: Schedule) -> Ranks:
    given = {name: value for name, value in dataclasses.asdict(size).items() if value is not None}
    if len(given) != 1:
        raise UserError(" and ".join(f"--{name}" for name in given) or "no size", "one of three is needed", USAGE)
    if schedule.method == "factorisation":
        if size.flops is None:
            raise UserError("method factorisation", "its ranks mean something else", "give --flops")
        return factorised_within_macs(source.anatomy, source.cost, size.flops)
    if not source.anatomy.readings:
        raise UserError(type(source.network).__name__, _why_none(source), "nothing can be made thinner in it")
    if size.ranks is not None:
        return parse_ranks(size.ranks, source.anatomy)
    if size.flops is not None:
        return uniform_within_macs(source.anatomy, source.cost, size.flops)
    assert size.latency is not None
    share = largest_within(size.latency, lambda share: _latency(source, share), f"--latency {size.latency}", LOOKS)
    return uniform(source.anatomy, share)


def _why_none(source: Source) -> str:
    return "; ".join(f"what {name} gives {reason}" for name, reason in source.anatomy.left.items())


def _latency(source: Source, share: float) -> float:
    """Seconds of the network with this part of its channels, in times of the whole one's."""
    columns = first_columns(source.anatomy, uniform(source.anatomy, share))
    observed = {name: values[:1].repeat(TIMED, *[1] * (values.ndim - 1)) for name, values in source.example.items()}
    return latency_ratio(source.thinned(columns), source.whole, observed)


def _plan(subject: Opened, schedule: Schedule, ranks: Ranks, steps: int) -> Compression:
    """What is to be done, in which rounds."""
    shapes = {}
    if subject.trained.run.compression:  # its options do not tell how thin it is
        shapes = {name: tuple(value.shape) for name, value in subject.source.network.state_dict().items()}
    plan = Compression(source=subject.address, ranks=ranks, schedule=schedule, shapes=shapes)
    if schedule.method not in PROJECTS:
        return plan
    rounds = in_rounds(subject.source.anatomy, ranks, schedule.rounds)
    if schedule.method == "projection":
        own = max(len(rounds), round(schedule.projection_share * steps))  # every round has a step
        return dataclasses.replace(plan, rounds=rounds, projection_steps=own)
    before = {name: ranks[name] for names in rounds[:-1] for name in names}
    earlier = max(len(rounds) - 1, steps * (len(rounds) - 1) // len(rounds))
    return dataclasses.replace(plan, part="projection", before=before, rounds=rounds[:-1], projection_steps=earlier)


def layers_table(plan: Compression) -> Table:
    """What is done to which layer, and why others are left."""
    source, ranks = opened(plan.source).source, plan.ranks
    anatomy, cost = source.anatomy, source.cost
    if plan.schedule.method == "factorisation":
        return _factors(source, ranks)
    left = macs(anatomy, cost, ranks)
    title = f"{100 * left / cost.macs:.1f} % of {cost.macs / 1e6:,.1f} million multiplications are left"
    table = Table(title=title, title_justify="left", title_style="")
    for column in ("layer", "channels", "million multiplications", "thousand weights", "why it is left"):
        table.add_column(column, justify="left" if column.startswith(("layer", "why")) else "right")
    for name, layer in anatomy.layers.items():
        outputs, inputs = ranks.get(name, layer.num_out), num_inputs(anatomy, name, ranks)
        before, taps = cost.layers[name].macs / 1e6, layer.num_taps / 1e3
        after = before * outputs / layer.num_out * inputs / layer.num_in
        table.add_row(
            name,
            f"{layer.num_out} → {outputs}",
            f"{before:,.2f} → {after:,.2f}",
            f"{layer.num_out * layer.num_in * taps:,.1f} → {outputs * inputs * taps:,.1f}",
            f"what it gives {anatomy.left[name]}" if name in anatomy.left else "",
        )
    return table


def _factors(source: Source, ranks: Mapping[str, int]) -> Table:
    left = factorised_macs(source.anatomy, source.cost, ranks) / source.cost.macs
    table = Table("layer", "channels", "rank", title=f"{100 * left:.1f} % of the multiplications are left")
    for name, layer in source.anatomy.layers.items():
        table.add_row(name, str(layer.num_out), str(ranks.get(name, "as it is")))
    return table
