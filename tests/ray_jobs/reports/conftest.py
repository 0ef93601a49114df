"""A run that was measured and interrupted, made up line by line."""

import time

import pytest

EVALUATED = {
    "data": "generated bodies",
    "split": "validation",
    "num_samples": 64,
    "baselines": {"mean pose": {"torso_aligned_mm": 120.0}},
    "groups": {},
    "inductive": {},
    "notes": "",
}


@pytest.fixture(scope="session")
def evaluated():
    """A line of metrics of an evaluation."""

    def evaluated(step, error, at=None):
        metrics = {"torso_aligned_mm": error, "mpjpe_mm": 2 * error}
        at = step if at is None else at
        return {"time": at, "step": step, "evaluation": {**EVALUATED, "metrics": metrics}}

    return evaluated


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
        ({"began": now - 72, "ended": now, "start_step": 20, "workers": 1, "device": "cuda"}, second),
        finished=True,
        pictures=(20, 40),
    )
