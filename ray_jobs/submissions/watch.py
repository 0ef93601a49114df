"""A submission as a person follows it: its log, how it stands, and what can be done about it."""

import sys
from dataclasses import dataclass

from aign.errors import last_line
from aign.options import CheckedOptions
from aign.storage.errors import plain_endpoint
from ray_jobs.launch.signals import raising_at_ctrl_c
from ray_jobs.submissions.cluster import Cluster, ClusterAway
from ray_jobs.submissions.following import follow
from ray_jobs.submissions.submission import Submitted
from ray_jobs.worker.best_effort import note


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
