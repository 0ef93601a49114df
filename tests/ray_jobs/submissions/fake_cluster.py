"""A cluster that only keeps what is submitted, for what happens before and after."""

from pathlib import Path
from types import SimpleNamespace

from ray_jobs import jobs, submit
from ray_jobs.submissions import watch
from ray_jobs.submissions.cluster import Cluster
from ray_jobs.submissions.command import Command


class Status(str):
    """Ray's JobStatus, as far as it is used."""

    def is_terminal(self):
        return self in ("SUCCEEDED", "FAILED", "STOPPED")


class FakeCluster(Cluster):
    """Its jobs run until they are told to end; whoever follows one sees it succeed."""

    def __init__(self):
        self.jobs = []

    def use(self, monkeypatch):
        """From here on all commands go to this cluster, and every storage is there."""
        for module in (submit, jobs):
            monkeypatch.setattr(module, "connect", lambda address: self)
        monkeypatch.setattr(Command, "check_storage", lambda command, same_credentials: [])
        monkeypatch.setattr(watch, "follow", lambda cluster, job_id: self.end(job_id, "SUCCEEDED"))

    def end(self, job_id, status):
        (job,) = (job for job in self.jobs if job.submission_id == job_id)
        job.status = Status(status)
        return job

    def submit_job(self, **job):
        folder = job["runtime_env"].get("working_dir")
        told = {"status": Status("RUNNING"), "start_time": len(self.jobs), "driver_exit_code": None, "message": ""}
        files = [path.name for path in Path(folder).rglob("*")] if folder else []
        self.jobs.append(SimpleNamespace(**told, **job, files=files))

    def list_jobs(self):
        return self.jobs

    def stop_job(self, job_id):
        self.end(job_id, "STOPPED")

    def check_room(self, jobs):
        return []
