"""Workers of a benchmark: two processes of one thread each, joined by gloo."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from aign.training.workers import from_first_worker

NUM_WORKERS = 2
FEWEST_ROUNDS = 3


def run_workers(module: str, folder: Path, *arguments: str, timeout_s: float = 600) -> None:
    """Run ``python -m module RANK FOLDER ARGUMENTS`` as all workers; AssertionError with their words if one fails."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", module, str(rank), str(folder), *arguments],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(NUM_WORKERS)
    ]
    try:
        said = [process.communicate(timeout=timeout_s)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    failed = [text for process, text in zip(running, said, strict=True) if process.returncode]
    assert not failed, "\n".join(failed)


def join(own_rank: str, folder: Path) -> None:
    """Become one of the workers."""
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = own_rank
    place = {"rank": int(own_rank), "world_size": NUM_WORKERS, "timeout": timedelta(seconds=120)}
    dist.init_process_group("gloo", init_method=(folder / "meeting-point").as_uri(), **place)


def rounds_for(seconds: float, measure_round: Callable[[], dict]) -> list[dict]:
    """As many rounds as fit, after one that warms up; the first worker's clock decides for all."""
    measure_round()
    started, rounds = time.perf_counter(), []
    while len(rounds) < FEWEST_ROUNDS or from_first_worker(
        time.perf_counter() - started < seconds, torch.device("cpu")
    ):
        rounds.append(measure_round())
    return rounds


def seconds_of(work: Callable[[], None]) -> tuple[float, float]:
    """From when all workers begin to when all have done; and what this worker's processor was busy with it."""
    dist.barrier()
    started, busy = time.perf_counter(), time.process_time()
    work()
    busy = time.process_time() - busy
    dist.barrier()
    return time.perf_counter() - started, busy
