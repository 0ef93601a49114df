"""A run small enough to train many times, and the commands as a person calls them."""

import contextlib
import json

import psutil
import pytest
import torch

from ray_jobs.console import run_command

torch.set_num_threads(1)  # tensors here are tiny: threads would only wait for each other

TINY = {
    "width": 32,
    "num_blocks": 1,
    "batch_size": 16,
    "steps": 12,
    "log_every": 2,
    "checkpoint_every": 4,
    "evaluate_every": 6,
}


@pytest.fixture(scope="session")
def tiny():
    """Options of a run of some tenths of a second, by name."""
    return TINY


@pytest.fixture(scope="session")
def tiny_argv():
    """The same on the command line."""
    return [part for name, value in TINY.items() for part in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture
def refused(capsys):
    """Calls a command that must end in one line on stderr and status 2; gives the line."""

    def refused(command, *argv):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_command(command, [str(word) for word in argv])
        said = capsys.readouterr().err
        assert ended.value.code == 2, said
        assert said.startswith("error: "), said
        assert said.count("\n") == 1, said
        assert said.endswith("\n"), said
        return said

    return refused


@pytest.fixture(scope="session")
def metrics():
    """All lines of metrics of a local run, in the order they were written."""

    def metrics(run):
        parts = sorted((run / "metrics").iterdir())
        return [json.loads(line) for part in parts for line in part.read_text().splitlines()]

    return metrics


@pytest.fixture(scope="session")
def snapshot():
    """What a local folder holds: the bytes of every file."""

    def snapshot(folder):
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return snapshot


@pytest.fixture(scope="session")
def train_workers():
    """Processes of Ray Train workers on this machine that belong to this test run."""

    def train_workers():
        found = []
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "RayTrainWorker" in " ".join(process.cmdline()):
                    found.append(process)
        return found

    return train_workers
