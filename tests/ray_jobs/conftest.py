"""A run small enough to train many times, runs made up line by line, and the commands as a person calls them."""

import contextlib
import io
import json

import psutil
import pytest
import torch
from PIL import Image

from aign.storage.store import Store
from ray_jobs.cli.console import run_command
from ray_jobs.cli.options import parse
from tests.ray_jobs.made_up import export_of

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


@pytest.fixture(scope="session")
def logged():
    """A line of metrics of a step."""

    def logged(step, loss, updates=None, stage="self-supervised", at=None):
        machine = {"samples_per_second": 100.0, "data_wait_share": 0.25}
        where = {"time": step if at is None else at, "step": step, "stage": stage}
        return {**where, "generator_updates": step if updates is None else updates, "reprojection": loss, **machine}

    return logged


@pytest.fixture(scope="session")
def write_run():
    """Writes a run: its options and, for each attempt, what it recorded and its lines, a part for each."""

    def write_run(folder, *attempts, argv=(), finished=False, pictures=()):
        store = Store(folder)
        config = {
            **parse(["pose", "--name", store.name, *argv]).job.to_json(),
            "metadata": {"data": "generated bodies"},
        }
        store.write("config.json", json.dumps(config).encode())
        for number, (record, lines) in enumerate(attempts, start=1):
            whole = {"workers": 2, "device": "cpu", "zero_stage": 1, "start_step": 0, "processes": [], **record}
            store.write(f"attempts/{number:03d}.json", json.dumps(whole).encode())
            for part, line in enumerate(lines):
                store.write(f"metrics/{number:03d}-{part:06d}.jsonl", json.dumps(line).encode() + b"\n")
        for step in pictures:
            store.write(f"pictures/step_{step:07d}.png", png((step % 256, 0, 0)))
        if finished:
            steps = config["training"]["steps"]
            store.write(f"checkpoints/step_{steps:07d}/state.json", b"{}")
            store.write("export/config.json", export_of(steps))
        return store

    return write_run


def png(color):
    """The bytes of a small picture."""
    image = io.BytesIO()
    Image.new("RGB", (4, 4), color).save(image, "PNG")
    return image.getvalue()
