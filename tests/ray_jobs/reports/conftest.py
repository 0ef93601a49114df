"""Runs as they lie in storage, made up line by line."""

import io
import json
import time

import pytest
from PIL import Image

from ray_jobs.options import parse
from ray_jobs.storage import Store

EVALUATED = {
    "data": "generated bodies",
    "split": "test clips",
    "num_samples": 64,
    "floors": {"mean pose": {"torso_aligned_mm": 120.0}},
    "groups": {},
}


def png(color):
    """The bytes of a small picture."""
    image = io.BytesIO()
    Image.new("RGB", (4, 4), color).save(image, "PNG")
    return image.getvalue()


@pytest.fixture(scope="session")
def logged():
    """A line of metrics of a step."""

    def logged(step, loss, updates=None, stage="self-supervised", at=None):
        machine = {"samples_per_second": 100.0, "data_wait_share": 0.25}
        where = {"time": step if at is None else at, "step": step, "stage": stage}
        return {**where, "generator_updates": step if updates is None else updates, "reprojection": loss, **machine}

    return logged


@pytest.fixture(scope="session")
def evaluated():
    """A line of metrics of an evaluation."""

    def evaluated(step, error, at=None):
        metrics = {"torso_aligned_mm": error, "mpjpe_mm": 2 * error}
        at = step if at is None else at
        return {"time": at, "step": step, "evaluation": {**EVALUATED, "metrics": metrics}}

    return evaluated


@pytest.fixture(scope="session")
def write_run():
    """Writes a run: its options and, for each attempt, what it recorded and its lines, a part for each."""

    def write_run(folder, *attempts, argv=(), finished=False, pictures=()):
        store = Store(folder)
        config = {**parse(["pose", "--name", store.name, *argv]).job.to_json(), "facts": {"data": "generated bodies"}}
        store.write("config.json", json.dumps(config).encode())
        for number, (record, lines) in enumerate(attempts, start=1):
            whole = {"workers": 2, "gpus_per_worker": 0, "zero_stage": 1, "start_step": 0, "processes": [], **record}
            store.write(f"attempts/{number:03d}.json", json.dumps(whole).encode())
            for part, line in enumerate(lines):
                store.write(f"metrics/{number:03d}-{part:06d}.jsonl", json.dumps(line).encode() + b"\n")
        for step in pictures:
            store.write(f"pictures/step_{step:07d}.png", png((step % 256, 0, 0)))
        if finished:
            store.write("export/config.json", b"{}")
        return store

    return write_run


@pytest.fixture
def interrupted(write_run, logged, evaluated, tmp_path):
    """A finished run of two attempts, the second from step 20; the first one was cut off at step 30."""
    now = time.time()
    first = [logged(10, 4.0, at=10), logged(20, 3.0, at=20), evaluated(20, 90.0, at=21), logged(30, 9.0, at=36)]
    second = [logged(30, 2.0, updates=40, at=now - 40), logged(40, 1.0, updates=60, at=now - 30)]
    second.append(evaluated(40, 80.0, at=now - 29))
    return write_run(
        tmp_path / "runs/interrupted",
        ({"began": 0.0}, first),
        ({"began": now - 72, "ended": now, "start_step": 20, "workers": 1, "gpus_per_worker": 2}, second),
        finished=True,
        pictures=(20, 40),
    )
