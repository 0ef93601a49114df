"""A Ray cluster seen from outside: the job API of its dashboard, with deadlines, and errors that a person can mend."""

import logging
import os
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from aign.errors import UserError, last_line
from aign.storage.errors import plain_endpoint
from ray_jobs.launch.devices import num_fitting
from ray_jobs.launch.ray_environment import how_to_give_a_token, named_token
from ray_jobs.runs.job import Job, Placement
from ray_jobs.submissions.submission import Submitted, submitted

ADDRESS = "RAY_API_SERVER_ADDRESS"
SECONDS_TO_CONNECT, SECONDS_TO_ANSWER = 5, 60


class ClusterAway(RuntimeError):
    """The cluster does not answer: the same call may succeed later."""


def connect(address: str | None) -> "Cluster":
    """The cluster at an address, by default that of the environment. Raises UserError, within seconds, without one."""
    address = address or os.environ.get(ADDRESS) or os.environ.get("RAY_ADDRESS")
    if not address:
        raise UserError("no cluster", "nothing says where it is", f"give --cluster http://HEAD:8265, or set {ADDRESS}")
    if not address.startswith(("http://", "https://")):
        raise UserError(address, "is not the address of a Ray dashboard", "give http://HEAD:8265")
    shown = plain_endpoint(address)
    with _only(address):
        try:
            return Cluster(address, headers=_token())
        except ClusterAway as away:
            reason = str(away).removeprefix(f"{shown}: ")
            raise UserError(shown, reason, "check the address, and that its port is open to here") from None
        except AuthenticationError as error:  # before anything was asked
            raise _token_error(shown, error) from None
        except (RuntimeError, ValueError, KeyError, requests.RequestException) as error:
            reason = f"does not answer like a Ray dashboard ({type(error).__name__})"
            raise UserError(shown, reason, "give http://HEAD:8265") from None


class Cluster(JobSubmissionClient):
    """Ray's client, whose every method raises ClusterAway when nobody answers and UserError for a refused token."""

    def submit(self, **job: Any) -> None:
        """``submit_job``. Raises UserError if the cluster has a job of this id, or nobody there who takes one."""
        try:
            self.submit_job(**job)
        except RuntimeError as error:
            if "No available agent" in str(error):
                reason = "no agent there takes jobs: the head has just begun, or another Ray has the port"
                remedy = "try again in a minute, or give that Ray another --dashboard-agent-listen-port"
                raise UserError(job["submission_id"], reason, remedy) from None
            if "already exists" not in str(error):
                raise
            raise UserError(job["submission_id"], "has just been submitted by someone else", "follow it") from None

    def submitted(self, name: str | None = None) -> list[Submitted]:
        """What has been submitted under a name, or at all, the newest last."""
        return [one for one in submitted(self.list_jobs()) if name in (None, one.submission.name)]

    def find(self, name: str) -> Submitted:
        """The newest attempt of a name. Raises UserError if there is none."""
        found = self.submitted(name)
        if not found:
            known = ", ".join(dict.fromkeys(one.submission.name for one in self.submitted())) or "nothing"
            raise UserError(name, "has not been submitted to this cluster", f"choose one that has: {known}")
        return found[-1]

    def check_room(self, jobs: Sequence[Job]) -> list[str]:
        """Whether there are machines for the largest of some jobs; returns what cannot be known.

        Raises UserError if there are not, and no autoscaler that could add some.
        """
        if not any(job.placement.workers for job in jobs):
            return []
        place = max((job.placement for job in jobs), key=_size)
        machines = self._machines()
        room = sum(num_fitting(one["resources_total"] or {}, place) for one in machines)
        if room >= place.workers.fewest:
            return []
        wanted = _wanted(place)
        reason = f"the cluster's {len(machines)} machines have room for {room}"
        if self._is_fixed():
            raise UserError(wanted, f"{reason}, and it does not grow", "ask for less, or add machines")
        return [f"{wanted}: {reason} now; how far it grows is not known here, so the run waits for it"]

    def _machines(self) -> list[dict[str, Any]]:
        """What Ray knows of each living machine."""
        nodes = self._get("/api/v0/nodes?detail=1")["result"]["result"]
        return [node for node in nodes if node["state"] == "ALIVE"]

    def _is_fixed(self) -> bool:
        """Whether it certainly has no autoscaler: then each machine is reported as a type of its own."""
        status = self._get("/api/cluster_status")["clusterStatus"] or {}
        types = (status.get("autoscalerReport") or {}).get("nodeTypeMapping") or {}
        return bool(types) and all(kind == f"node_{node}" for node, kind in types.items())

    def _get(self, path: str) -> dict[str, Any]:
        return self._do_request("GET", path).json()["data"]

    def _do_request(self, method: str, endpoint: str, **how: Any) -> requests.Response:
        """All of Ray's client goes through here; by itself it would wait for ever."""
        shown = plain_endpoint(self.get_address())
        try:
            return super()._do_request(method, endpoint, timeout=(SECONDS_TO_CONNECT, SECONDS_TO_ANSWER), **how)
        except AuthenticationError as error:
            raise _token_error(shown, error) from None
        except requests.RequestException as error:
            raise ClusterAway(f"{shown}: the cluster does not answer ({type(error).__name__})") from None

    def _raise_error(self, r: requests.Response) -> None:
        """Ray answers with the traceback of what went wrong there."""
        raise RuntimeError(f"{plain_endpoint(self.get_address())}: HTTP status {r.status_code}: {last_line(r.text)}")


def _size(place: Placement) -> tuple[float, ...]:
    """By which the largest of some jobs is found."""
    return place.workers.fewest, place.device == "cuda", place.memory_per_worker


def _wanted(place: Placement) -> str:
    """The fewest workers of a job and what they need, in words."""
    each = ["a GPU"] if place.device == "cuda" else []
    each += [f"{place.memory_per_worker:g} GiB"] if place.memory_per_worker else []
    needs = f" with {' and '.join(each)}" if each else ""
    where = "" if place.machines == "any" else f" on {place.machines} machines"
    return f"{place.workers.fewest} workers{needs}{where}"


def _token() -> dict[str, str]:
    """The header with the token that variables name, whether or not RAY_AUTH_MODE asks for one."""
    token = named_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _token_error(shown: str, error: AuthenticationError) -> UserError:
    if str(error).startswith("Authentication failed"):
        return UserError(shown, "the cluster refuses the token", how_to_give_a_token())
    return UserError(shown, "the cluster asks for a token, and none was found", how_to_give_a_token())


@contextmanager
def _only(address: str):
    """Ray's client would let the environment overrule the address it is given."""
    before = os.environ.get(ADDRESS)
    os.environ[ADDRESS] = address
    for name in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env.packaging"):
        logging.getLogger(f"ray.{name}").setLevel(logging.WARNING)
    try:
        yield
    finally:
        os.environ.pop(ADDRESS)
        if before is not None:
            os.environ[ADDRESS] = before
