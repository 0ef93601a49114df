"""What was submitted to a Ray cluster: ``python -m ray_jobs.jobs list|status|logs|stop|resume [NAME] [options]``."""

import time
from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.table import Table

from aign.command import make_console
from aign.errors import UserError, did_you_mean
from ray_jobs.cli.console import run_command
from ray_jobs.cli.options import parse_verb, split_options
from ray_jobs.submissions.cluster import connect
from ray_jobs.submissions.submission import SECONDS_TO_STOP, Submitted
from ray_jobs.submissions.watch import There, Where, describe, watch
from ray_jobs.submit import begin

USAGE = "aign jobs list|status|logs|stop|resume [NAME] [options]"
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_BEYOND_PATIENCE = 30  # a job that did not heed is killed by then


@dataclass(frozen=True, kw_only=True)
class One(Where):
    """The newest attempt of one name."""

    name: Annotated[str, tyro.conf.Positional]
    """Its name."""


@dataclass(frozen=True, kw_only=True)
class Logs(One):
    """What the newest attempt of one name has printed."""

    follow: bool = False
    """Go on until it is over, and exit with its status."""


@dataclass(frozen=True, kw_only=True)
class Resume(There):
    """Submit the newest command of one name again; it goes on from its checkpoint. Other options of the command may
    follow: --workers 1."""

    name: Annotated[str, tyro.conf.Positional]
    """Its name."""


def command(argv: list[str]) -> None:
    """One of five verbs."""
    verbs = {"list": show_all, "status": status, "logs": logs, "stop": stop, "resume": resume}
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: {USAGE}\n\nOptions: aign jobs VERB --help")
        return
    if argv[0] not in verbs:
        raise UserError(argv[0], "unknown verb", did_you_mean(argv[0], list(verbs)))
    verbs[argv[0]](argv[1:])


def show_all(argv: list[str]) -> None:
    """A table with a row for each name."""
    where = parse_verb(Where, argv, "aign jobs list")
    newest = {one.submission.name: one for one in connect(where.cluster).submitted()}
    table = Table("name", "attempt", "status", "began", "command")
    for name, one in newest.items():
        table.add_row(name, str(one.submission.attempt), one.job.status.lower(), _began(one), one.submission.command)
    make_console().print(table)


def status(argv: list[str]) -> None:
    """How the newest attempt stands, and what it is."""
    one = parse_verb(One, argv, "aign jobs status")
    found = connect(one.cluster).find(one.name)
    print(f"{describe(found, one)}\nbegan {_began(found)}: {found.submission.command}")


def logs(argv: list[str]) -> None:
    """All that the newest attempt has printed."""
    one = parse_verb(Logs, argv, "aign jobs logs")
    cluster = connect(one.cluster)
    found = cluster.find(one.name)
    if one.follow:
        watch(cluster, found, one)
    else:
        print(cluster.get_job_logs(found.submission.id), end="")


def stop(argv: list[str]) -> None:
    """Ask the newest attempt to save and end, and wait until it has."""
    one = parse_verb(One, argv, "aign jobs stop")
    cluster = connect(one.cluster)
    found = cluster.find(one.name)
    if not found.is_over:
        cluster.stop_job(found.submission.id)
    deadline = time.monotonic() + SECONDS_TO_STOP + SECONDS_BEYOND_PATIENCE
    while not found.is_over:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{found.submission.id} was asked to stop and is still {found.job.status.lower()}")
        time.sleep(SECONDS_BETWEEN_LOOKS)
        found = cluster.find(one.name)
    print(describe(found, one))


def resume(argv: list[str]) -> None:
    """Submit the newest command again, with more options behind it."""
    one, changes = split_options(Resume, argv, "aign jobs resume")
    last = connect(one.cluster).find(one.name).submission
    begin([*last.words, *changes], one, last.name, installed=last.installed, variables=last.variables)


def _began(one: Submitted) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime((one.job.start_time or 0) / 1000))


if __name__ == "__main__":
    run_command(command)
