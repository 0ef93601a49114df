"""The command line of training: the options of a task, of training and of the place, from typed dataclasses."""

import argparse
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import tyro

from aign.command import parse_known
from aign.device import DeviceOption
from aign.errors import UserError, did_you_mean
from aign.options import CheckedOptions, Money, check_effect
from aign.storage.store import Store
from aign.tasks import TASKS
from aign.training.config import TrainingConfig
from aign.training.run_config import RunConfig, find_preset, find_task
from ray_jobs.runs.job import Job, Placement, new_name

T = TypeVar("T")
PLACES = {"--storage": Placement.storage, "--from": "", "--like": "", "--source": "", "--features": ""}
"""Options of a run that name a place, and what they are without one."""


@dataclass(frozen=True, kw_only=True)
class Beginning(CheckedOptions):
    """What the run begins with."""

    init_from: Annotated[str | None, tyro.conf.arg(name="from", metavar="RUN[@STEP]")] = None
    """Begin with the weights of another run's checkpoint, its newest or that of a step: networks only, no optimizers,
    from step 0. Default: fresh weights."""


@dataclass(frozen=True, kw_only=True)
class Price(CheckedOptions):
    """What is paid for workers."""

    price_per_worker_hour: Money | None = None
    """What one worker costs for an hour, in any currency, to say what runs cost."""


@dataclass(frozen=True, kw_only=True)
class DryRun(Price):
    """What to do with the job."""

    dry_run: bool = False
    """Print the resolved run, and check data, storage, batch and resources, but start nothing."""

    like: Annotated[str | None, tyro.conf.arg(metavar="RUN")] = None
    """A run with the same options, of any length: with --dry-run, says what this one will cost. A local path or s3://
    URI."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_effect(self, "like", self.dry_run, "without --dry-run")
        check_effect(self, "price_per_worker_hour", self.like is not None, "without --like")


@dataclass(frozen=True, kw_only=True)
class OnDevice(CheckedOptions):
    """Where a verb computes that uses a trained network."""

    device: DeviceOption = "auto"
    """What the network computes on: cpu, or cuda; auto: cuda if this machine has a GPU, else cpu."""


@dataclass(frozen=True, kw_only=True)
class WhereDataIs(CheckedOptions):
    """Where the data of a trained network is now."""

    source: str | None = None
    """Where a folder of your own or CelebA lies, if it has moved since training: a local path or s3:// URI."""


@dataclass(frozen=True)
class Command:
    """A parsed command line."""

    job: Job
    what: DryRun


def split_options(kind: type[T], argv: Sequence[str], prog: str) -> tuple[T, list[str]]:
    """Options of one dataclass, and the arguments that are not its own."""
    return parse_known(kind, argv, prog)


def parse_verb(kind: type[T], argv: Sequence[str], prog: str) -> T:
    """Options of a verb that are one dataclass. Raises UserError for an unknown one."""
    parsed, unknown = split_options(kind, argv, prog)
    if unknown:
        raise _unknown_option(unknown[0], [kind])
    return parsed


def parse(argv: Sequence[str], verb: str = "train") -> Command:
    """``TASK [--preset NAME] [options]`` to a job. Raises UserError for what cannot be."""
    usage = f"aign {verb} TASK [--preset NAME] [options], TASK one of {', '.join(TASKS)}"
    if not argv or argv[0].startswith("-"):
        if argv and argv[0] in ("-h", "--help"):
            print(f"usage: {usage}\n\nOptions: aign {verb} TASK --help")
            raise SystemExit(0)
        raise UserError(argv[0] if argv else "no task", "a task comes first", usage)
    task, rest = argv[0], list(argv[1:])
    kind = find_task(task)
    chosen, rest = split_option("--preset", rest)  # first of all: it decides the defaults of the others
    preset, changes = find_preset(task, chosen)

    presets = "; ".join(f"{name}: {p.summary}" for name, p in kind.presets.items())
    place, beginning, training, options, what = parse_options(
        (Placement, Beginning, TrainingConfig, kind.Config, DryRun),
        ({}, {}, changes.training, changes.task, {}),
        rest,
        prog=f"aign {verb} {task} --preset {preset}",
        description=f"Train {task}. Presets: {presets}.",
    )
    run = RunConfig(task=task, preset=preset, options=options, training=training, init_from=beginning.init_from)
    name = place.name or new_name(f"{task}-{preset}")
    place = dataclasses.replace(place, storage=Store(place.storage).uri)  # absolute: workers stand in other folders
    return Command(Job(run=run, placement=place, name=name), what)


def parse_options(
    kinds: Sequence[type], presets: Sequence[Any], argv: list[str], *, prog: str, description: str
) -> tuple[Any, ...]:
    """One flat list of options from several dataclasses, each with its own defaults. Raises UserError."""
    flat = tyro.conf.arg(name="")
    fields = [
        (kind.__name__, Annotated[kind, flat], dataclasses.field(default=kind(**preset)))
        for kind, preset in zip(kinds, presets, strict=True)
    ]
    together = dataclasses.make_dataclass("Options", fields, frozen=True, kw_only=True)
    parsed: Any
    parsed, unknown = parse_known(together, argv, prog, description)
    if unknown:
        raise _unknown_option(unknown[0], kinds)
    return tuple(getattr(parsed, kind.__name__) for kind in kinds)


def split_option(name: str, argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """The value of one option, None without it, and the other arguments. Raises UserError if it has no value."""
    option = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    option.add_argument(name, dest="value")
    try:
        chosen, rest = option.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise UserError(name, error.message, "give its name") from None
    return chosen.value, rest


def places_in(argv: Sequence[str]) -> dict[str, str]:
    """The places that a run's arguments name, as they were typed, by option; its storage in any case."""
    found = {option: split_option(option, argv)[0] or default for option, default in PLACES.items()}
    return {option: place for option, place in found.items() if place}


def spelling(field: str) -> str:
    """How the option of a field is written."""
    return "--from" if field == "init_from" else f"--{field.replace('_', '-')}"


def _unknown_option(option: str, kinds: Sequence[Any]) -> UserError:
    known = [spelling(field.name) for kind in kinds for field in dataclasses.fields(kind)]
    return UserError(option, "unknown option or value", did_you_mean(option, known))
