"""Run a command on a Ray cluster: ``python -m ray_jobs.submit [--cluster ADDRESS] [--name NAME] -- VERB ...``."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import tyro

from aign.errors import UserError
from aign.options import annotations_of
from ray_jobs import compare, sweep
from ray_jobs.cli.console import run_command
from ray_jobs.cli.options import parse, parse_verb, places_in, split_option, split_options
from ray_jobs.cli.outputs import OutputFile, OutputFolder
from ray_jobs.runs.job import Job, new_name
from ray_jobs.submissions.cluster import connect
from ray_jobs.submissions.command import USAGE, Command, checked_name
from ray_jobs.submissions.package import read_variables
from ray_jobs.submissions.submission import Submission
from ray_jobs.submissions.watch import There, again, watch
from ray_jobs.worker.best_effort import note

CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_PROFILE")
USES_RUNS = ("evaluate", "predict", "export", "sensitivity")


@dataclass(frozen=True, kw_only=True)
class Options(There):
    """Run the command behind -- on a Ray cluster and follow its log; the exit status is the command's."""

    name: str | None = None
    """What aign jobs calls it. Default: the name of the run, or one made from verb and time."""
    installed: bool = False
    """The cluster's image has this project: send no code."""
    pass_env: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """Variables of this environment that the command is to have there. Their values are in no log and no description of
    the job; whoever may submit jobs to the cluster could read them. None is needed where the cluster has its own."""


def command(argv: list[str]) -> None:
    """Check, submit, follow."""
    own = argv[: argv.index("--")] if "--" in argv else argv
    options = parse_verb(Options, own, "aign submit")
    words = argv[len(own) + 1 :]
    begin(words, options, options.name, installed=options.installed, variables=options.pass_env)


def begin(words: Sequence[str], there: There, name: str | None, *, installed: bool, variables: tuple[str, ...]) -> None:
    """Submit the next attempt at a command, after all that can be checked from here. Raises UserError."""
    command = read_command(words, name)
    known = command.check()
    read_variables(variables)
    cluster = connect(there.cluster)
    known += cluster.check_room(command.jobs)
    before = cluster.submitted(command.name)
    if before and not before[-1].is_over:
        remedy = f"follow it ({again('logs', before[-1], there)} --follow), or {again('stop', before[-1], there)} first"
        raise UserError(before[-1].submission.id, f"is {before[-1].job.status.lower()} already", remedy)
    known += command.check_storage(same_credentials=bool({*CREDENTIALS} & {*variables}))
    for text in known:
        note(text)
    attempt = before[-1].submission.attempt + 1 if before else 1
    submission = Submission(
        name=command.name, attempt=attempt, words=command.words, installed=installed, variables=variables
    )
    submission.submit(cluster)
    if there.detach:
        print(submission.id)
    else:
        watch(cluster, cluster.find(command.name), there)


def read_command(words: Sequence[str], name: str | None) -> Command:
    """Understand a command; a run without a name gets one, for every attempt the same. Raises UserError."""
    if not words:
        raise UserError("no command", "it comes behind --", USAGE)
    verb, arguments = words[0], list(words[1:])
    if verb not in (*_READERS, *USES_RUNS):
        raise UserError(verb, "cannot be submitted", f"choose one of {', '.join([*_READERS, *USES_RUNS])}")
    if verb in USES_RUNS:
        options = parse_verb(import_module(f"ray_jobs.{verb}").Options, arguments, f"aign {verb}")
        kinds = annotations_of(type(options))
        places = {name: value for name, value in dataclasses.asdict(options).items() if not _is_choice(kinds[name])}
        return Command(tuple(words), checked_name(name or new_name(verb)), (), _named(places))
    run, _ = split_option("--name", arguments)
    if run is None:
        run = name or new_name(verb)
        arguments += ["--name", run]
    jobs, places = _READERS[verb](arguments)
    return Command((verb, *arguments), checked_name(name or run), tuple(jobs), _named(places) | places_in(arguments))


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


def _is_choice(annotation: Any) -> bool:
    """Whether an option is one of some words, and no place."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return get_origin(annotation) is Literal


def _named(places: dict[str, Any]) -> dict[str, str]:
    kinds = str | Path | OutputFile | OutputFolder
    return {option: str(place) for option, place in places.items() if isinstance(place, kinds)}


if __name__ == "__main__":
    run_command(command)
