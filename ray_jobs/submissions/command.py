"""The command that is to run on a cluster, as far as it can be understood and checked before it is there."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from aign.errors import UserError
from aign.storage.store import Store
from ray_jobs.cli.preflight import check_engine, check_store
from ray_jobs.runs.job import Job
from ray_jobs.runs.same_run import check_same_run

USAGE = "aign submit [options] -- VERB ..."


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


def checked_name(name: str) -> str:
    """The name, if a submission may have it. Raises UserError."""
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
