"""What a sweep has cost, from made-up runs of known times."""

import json

import pytest

from ray_jobs import report
from ray_jobs.sweeps.cost import spent
from ray_jobs.sweeps.plan import plan

RUN = ["--steps", "1000", "--evaluate-every", "100", "--checkpoint-every", "100", "--workers", "1"]


@pytest.fixture
def write(write_run, logged, tmp_path):
    """Writes a run of one worker, with 0.2 s a step and 18 s beside them, or one that is cut off."""

    def write(name, *argv, ended=30, **record):
        lines = [logged(step, 1.0, at=6 + step / 5) for step in (20, 40, 60)]
        record = {"began": 0, "workers": 1, **({"ended": ended} if ended else {}), **record}
        return write_run(tmp_path / name, (record, lines), argv=["--workers", "1", *argv], finished=True)

    return write


@pytest.fixture
def sweep(tmp_path):
    def sweep(*argv, space="alpha=fixed:{-2:2}"):
        return plan(["pose", "--space", space, *RUN, "--storage", str(tmp_path), "--name", "s", *argv])[0]

    return sweep


def test_its_page_says_what_all_trials_cost(write, sweep, tmp_path):
    planned = sweep("--trials", "2")
    planned.folder.write("sweep.json", json.dumps(planned.to_json()).encode())
    write("s/trials/000/0")
    write("s/trials/001/0", ended=None)
    write("s/trials/001/1", gpus_per_worker=2, workers=2)
    cost = spent(planned.folder)
    assert cost.worker_hours == pytest.approx((30 + 18 + 60) / 3600)
    assert cost.gpu_hours == pytest.approx(120 / 3600)
    report.command([str(tmp_path / "s"), "--price-per-worker-hour", "100", "--out", str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text()
    assert "<b>0.03</b><span>worker-hours" in page
    assert "<b>3.00</b><span>at 100 a worker-hour" in page
