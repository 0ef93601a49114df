"""Seconds from command to the first training step, beside those that the imports alone take."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPEATS = 3
OPTIONS = ["--steps", "3", "--log-every", "1", "--evaluate-every", "1000000", "--checkpoint-every", "1000000"]


def seconds_until(line_start: str, command: list[str], folder: Path) -> float:
    """Seconds until a command prints a line that contains ``line_start``; it is left to finish."""
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line_start in line:
                seconds = time.perf_counter() - started
                process.communicate()
                return seconds
    raise AssertionError(f"{command} never printed {line_start!r}")


@pytest.mark.parametrize("workers", [0, 2])
def test_time_to_first_step(workers, tmp_path, capsys):
    imports = [sys.executable, "-c", "import torch, ray.train.torch, deepspeed, matplotlib.figure; print('imported')"]
    train = [sys.executable, "-m", "ray_jobs.train", "pose", *OPTIONS, "--workers", str(workers), "--storage", "runs"]
    first_step = statistics.median(seconds_until("step 1/", train, tmp_path) for _ in range(REPEATS))
    baseline = statistics.median(seconds_until("imported", imports, tmp_path) for _ in range(REPEATS))
    with capsys.disabled():
        print(
            f"\nto the first step, {workers} workers: {first_step:.1f} s; imports alone {baseline:.1f} s;"
            f" ratio {first_step / baseline:.2f} (medians of {REPEATS})"
        )
