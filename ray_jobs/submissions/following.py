"""A job's log as it comes, over connections that may break."""

import asyncio
import sys
import time
from typing import Any

import aiohttp

from ray_jobs.submissions.cluster import Cluster, ClusterAway

SECONDS_OF_SILENCE = 60
"""Then it is looked whether the connection still lives."""
SECONDS_OF_PATIENCE = 300
"""With a cluster that does not answer."""
SECONDS_BETWEEN_TRIES = 1


def follow(cluster: Cluster, job_id: str) -> Any:
    """Print a job's log until the job is over; Ray's JobDetails then. Raises ClusterAway if it is gone for long."""
    return asyncio.run(_follow(cluster, job_id))


async def _follow(cluster: Cluster, job_id: str) -> Any:
    shown, last_answer = 0, time.monotonic()
    while True:
        shown = await _print_further(cluster, job_id, shown)
        try:
            job = cluster.get_job_info(job_id)
            if job.status.is_terminal():
                _print(cluster.get_job_logs(job_id)[shown:])
                return job
            last_answer = time.monotonic()
        except ClusterAway:
            if time.monotonic() - last_answer > SECONDS_OF_PATIENCE:
                raise
        await asyncio.sleep(SECONDS_BETWEEN_TRIES)


async def _print_further(cluster: Cluster, job_id: str, shown: int) -> int:
    """Print what comes after the first ``shown`` characters, to the end or an interruption; how many are shown then."""
    log, seen = cluster.tail_job_logs(job_id), 0
    while True:
        try:
            text = await asyncio.wait_for(anext(log), SECONDS_OF_SILENCE)
        except (StopAsyncIteration, TimeoutError, RuntimeError, OSError, aiohttp.ClientError):
            return max(shown, seen)
        new = text[max(0, shown - seen) :]
        seen += len(text)
        _print(new)


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
