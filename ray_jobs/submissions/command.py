"""The command that is to run on a cluster, as far as it can be understood and checked before it is there."""

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from aign.errors import UserError
from ray_jobs import compare, sweep
from ray_jobs.continuing import check_same_run
from ray_jobs.job import Job, new_name
from ray_jobs.options import parse, parse_verb, places_in, split_option, split_options
from ray_jobs.outputs import OutputFile, OutputFolder
from ray_jobs.preflight import check_engine, check_store
from ray_jobs.storage import Store

USAGE = "aign submit [options] -- VERB ..."
USES_RUNS = ("evaluate", "predict", "export", "sensitivity")


@dataclass(frozen=True)
class Command:
    """A verb and its arguments, with the name of the run in them."""

    words: tuple[str, ...]
    name: str
    """What its submissions are called."""
    jobs: tuple[Job, ...]
    """The runs that it starts, of verbs whose arguments alone tell."""
    places: Mapping[str, str]
    """Options with the files and folders that they name."""

    def check(self) -> list[str]:
        """What needs no cluster: options, batches, places. Returns what a person should know of the places.

        Raises UserError at the first that cannot work.
        """
        for job in self.jobs:
            job.run.check_batch(job.placement.workers.most)
            check_engine(job)
        return [known for option, place in self.places.items() if (known := _shared(option, place))]

    def check_storage(self, *, same_credentials: bool) -> list[str]:
        """That the store can be used and holds no other run of this name, seen from here.

        Where the command will have other credentials than those here, a store that cannot be used is only told.
        """
        storage = self.places.get("--storage", "")
        if not storage.startswith("s3://"):
            return []
        try:
            known = check_store(Store(storage))
        except UserError as error:
            if same_credentials:
                raise
            return [f"not checked: {error} (the cluster uses credentials of its own, not those here)"]
        for job in self.jobs:
            check_same_run(job)
        return known


def read_command(words: Sequence[str], name: str | None) -> Command:
    """Understand a command; a run without a name gets one, for every attempt the same. Raises UserError."""
    if not words:
        raise UserError("no command", "it comes behind --", USAGE)
    verb, arguments = words[0], list(words[1:])
    if verb not in (*_READERS, *USES_RUNS):
        raise UserError(verb, "cannot be submitted", f"choose one of {', '.join([*_READERS, *USES_RUNS])}")
    if verb in USES_RUNS:
        options = parse_verb(import_module(f"ray_jobs.{verb}").Options, arguments, f"aign {verb}")
        places = {name: value for name, value in dataclasses.asdict(options).items() if name != "device"}
        return Command(tuple(words), _checked_name(name or new_name(verb)), (), _named(places))
    run, _ = split_option("--name", arguments)
    if run is None:
        run = name or new_name(verb)
        arguments += ["--name", run]
    jobs, places = _READERS[verb](arguments)
    return Command((verb, *arguments), _checked_name(name or run), tuple(jobs), _named(places) | places_in(arguments))


def _train(arguments: list[str]) -> tuple[list[Job], dict[str, Any]]:
    return [parse(arguments).job], {}


def _sweep(arguments: list[str]) -> tuple[list[Job], dict[str, Any]]:
    planned = sweep.plan(arguments)
    return [planned.job], {"--space-file": planned.options.space_file}


def _compare(arguments: list[str]) -> tuple[list[Job], dict[str, Any]]:
    options, rest = split_options(compare.Options, arguments, "aign compare")
    return [arm.job for arm in compare.plan(options, rest)], {"--json": options.json and options.json.place}


def _compress(arguments: list[str]) -> tuple[list[Job], dict[str, Any]]:
    """What is to be compressed decides the rest; it is opened there."""
    if arguments[0].startswith("-"):
        raise UserError(arguments[0], "a run comes first", "aign compress RUN [options]")
    return [], {"RUN": arguments[0]}


_READERS: dict[str, Callable[[list[str]], tuple[list[Job], dict[str, Any]]]] = {
    "train": _train,
    "sweep": _sweep,
    "compare": _compare,
    "compress": _compress,
}


def _named(places: dict[str, Any]) -> dict[str, str]:
    kinds = str | Path | OutputFile | OutputFolder
    return {option: str(place) for option, place in places.items() if isinstance(place, kinds)}


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII):
        reason = "a submission has letters, digits and . _ - in its name"
        raise UserError(f"--name {name}", reason, f"give another one before the command: {USAGE}")
    return name


def _shared(option: str, place: str) -> str | None:
    """What is to be known of a place. Raises UserError for one that the cluster cannot share."""
    if place.startswith("s3://"):
        return None
    if not os.path.isabs(place):
        reason = "is a folder of this machine, which the cluster does not see"
        raise UserError(f"{option} {place}", reason, "give s3://bucket/prefix, or the path of a shared folder from /")
    return f"{option} {place}: every machine of the cluster must have this folder, and share it"
