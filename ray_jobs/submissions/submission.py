"""One attempt at a command on a cluster: Ray's job NAME-1, NAME-2, ...; all that is needed to submit the next."""

import dataclasses
import json
import shlex
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray_jobs.submissions.package import pack

METADATA_KEY = "aign"
SECONDS_TO_STOP = 180
"""Between asking a job to stop and killing it: it saves, and sends what waits."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A command to run on a cluster."""

    name: str
    attempt: int = 1
    words: tuple[str, ...]
    """The command: a verb and its arguments."""
    installed: bool = False
    """The cluster's image has this project."""
    variables: tuple[str, ...] = ()
    """Names of the variables that are passed; their values stand nowhere."""

    @property
    def id(self) -> str:
        return f"{self.name}-{self.attempt}"

    @property
    def command(self) -> str:
        """As it is typed."""
        return shlex.join(["aign", *self.words])

    @property
    def entrypoint(self) -> str:
        """What the cluster runs; with exec, so that a signal reaches one process once."""
        return shlex.join(["exec", "python", "-m", "ray_jobs.submissions.driver", *self.words])

    @property
    def metadata(self) -> dict[str, str]:
        """What Ray keeps with the job: no secret."""
        return {"job_name": self.name, METADATA_KEY: json.dumps(dataclasses.asdict(self))}

    @classmethod
    def of(cls, job: Any) -> "Submission | None":
        """What was submitted as one of Ray's jobs (JobDetails); None for jobs of others, and of other versions."""
        try:
            fields = json.loads((job.metadata or {})[METADATA_KEY])
            return cls(**{**fields, "words": tuple(fields["words"]), "variables": tuple(fields["variables"])})
        except (KeyError, TypeError, ValueError):
            return None

    def runtime_env(self, working_dir: Path) -> dict[str, Any]:
        """Ray's environment of the job, whose working directory has been packed; every word of it is public."""
        env: dict[str, Any] = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(SECONDS_TO_STOP)}}
        if not self.installed or self.variables:
            env["working_dir"] = str(working_dir)
        if self.variables:
            env["worker_process_setup_hook"] = "ray_jobs.submissions.driver.load_environment"
        return env

    def submit(self, cluster: Any) -> None:
        """Pack and submit it. Raises UserError if the cluster has a job of this id already."""
        with tempfile.TemporaryDirectory(prefix="aign-submit-") as folder:
            pack(Path(folder), code=not self.installed, variables=self.variables)
            cluster.submit(
                entrypoint=self.entrypoint,
                submission_id=self.id,
                metadata=self.metadata,
                runtime_env=self.runtime_env(Path(folder)),
            )


@dataclass(frozen=True)
class Submitted:
    """A submission and what Ray knows of it."""

    submission: Submission
    job: Any
    """Ray's JobDetails."""

    @property
    def is_over(self) -> bool:
        return self.job.status.is_terminal()

    @property
    def status(self) -> int:
        """The exit status of a command that is over: its own, 143 if it was asked to stop, as after SIGTERM."""
        if self.job.status == "SUCCEEDED":
            return 0
        if self.job.status == "STOPPED":
            return 143
        code = self.job.driver_exit_code
        return 1 if code is None else code if code > 0 else 128 - code

    def __str__(self) -> str:
        end = f" with status {self.status}" if self.job.status == "FAILED" else ""
        return f"{self.submission.id}: {self.job.status.lower()}{end}"


def submitted(jobs: Iterable[Any]) -> list[Submitted]:
    """Those of Ray's jobs that are ours, the newest attempts last."""
    found = [Submitted(ours, job) for job in jobs if (ours := Submission.of(job))]
    return sorted(found, key=lambda one: (one.job.start_time or 0, one.submission.attempt))
