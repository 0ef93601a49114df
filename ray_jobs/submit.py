"""Run a command on a Ray cluster: ``python -m ray_jobs.submit [--cluster ADDRESS] [--name NAME] -- VERB ...``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from aign.errors import UserError, last_line
from aign.options import CheckedOptions
from aign.store_errors import plain_endpoint
from ray_jobs.console import run_command
from ray_jobs.options import parse_verb
from ray_jobs.stopping import raising_at_ctrl_c
from ray_jobs.submissions.cluster import Cluster, ClusterAway, connect
from ray_jobs.submissions.command import read_command
from ray_jobs.submissions.following import follow
from ray_jobs.submissions.package import read_variables
from ray_jobs.submissions.submission import Submission, Submitted
from ray_jobs.telling import note

CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_PROFILE")


@dataclass(frozen=True, kw_only=True)
class Where(CheckedOptions):
    """Which cluster."""

    cluster: str | None = None
    """Address of the cluster's dashboard, http://HEAD:8265. Default: RAY_API_SERVER_ADDRESS or RAY_ADDRESS."""


@dataclass(frozen=True, kw_only=True)
class There(Where):
    """Which cluster, and whether to watch."""

    detach: bool = False
    """Only submit and print the job's name; do not follow its log."""


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


def watch(cluster: Cluster, one: Submitted, there: Where) -> None:
    """Follow a log to the end of its job, and exit with the job's status; Ctrl-C only ends the following."""
    try:
        with raising_at_ctrl_c():
            over = Submitted(one.submission, follow(cluster, one.submission.id))
    except ClusterAway as away:
        raise ClusterAway(f"{away}; {one.submission.id} may go on: {again('logs', one, there)} --follow") from None
    except KeyboardInterrupt:
        note(f"{one.submission.id} goes on: {again('logs', one, there)} --follow, or {again('stop', one, there)}")
        sys.exit(130)
    note(describe(over, there))
    if over.status:
        sys.exit(over.status)


def describe(one: Submitted, there: Where) -> str:
    """How an attempt stands, and what can be done."""
    if not one.is_over or not one.status:
        return str(one)
    began = one.job.driver_exit_code is not None or one.job.status == "STOPPED"
    reason = "" if began else f" ({last_line(one.job.message or '')})"  # else its log has told
    return f"{one}{reason}; to go on: {again('resume', one, there)}"


def again(verb: str, one: Submitted, there: Where) -> str:
    """A command about a submission."""
    where = f" --cluster {plain_endpoint(there.cluster)}" if there.cluster else ""
    return f"aign jobs {verb} {one.submission.name}{where}"


if __name__ == "__main__":
    run_command(command)
