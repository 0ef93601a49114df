"""What a sweep has cost and will cost, from made-up runs of known times."""

import json
from dataclasses import asdict

import pytest

from ray_jobs import report
from ray_jobs.sweeps.cost import estimated, spent
from ray_jobs.sweeps.plan import plan
from ray_jobs.sweeps.trial_log import Record

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
        like = ["--dry-run", "--like", str(tmp_path / "first")]
        return plan(["pose", "--space", space, *RUN, "--storage", str(tmp_path), "--name", "s", *like, *argv])

    return sweep


def told(hours):
    return f"about {hours:.3g} worker-hours"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--trials", "5"], told(5 * 218 / 3600)),
        ([], told(16 * 218 / 3600)),
        (["--search", "optuna", "--trials", "5"], told(5 * 218 / 3600)),
        (["--trials", "5", "--scheduler", "asha"], "at most " + told(5 * 218 / 3600)),
        (["--trials", "5", "--budget-hours", "1"], "at most " + told(5 * 218 / 3600)),
        (["--trials", "5", "--scheduler", "pbt"], told(5 * (200 + 10 * 18) / 3600)),
    ],
)
def test_it_is_all_trials(argv, expected, write, sweep):
    write("first")
    assert estimated(sweep(*argv)).startswith(expected)


def test_it_has_a_price(write, sweep):
    write("first")
    said = estimated(sweep("--trials", "2", "--price-per-worker-hour", "10"))
    assert said.startswith(f"{told(2 * 218 / 3600)}, {20 * 218 / 3600:.2f} at 10 a worker-hour")


def test_trials_that_are_over_cost_no_more(write, sweep, tmp_path):
    write("first")
    write("s/trials/000/0")
    write("s/trials/001/0")
    over = Record(trial=0, point={}, status="stopped", path=[{"run": "trials/000/0", "values": {}}])
    (tmp_path / "s/trials/000/trial.json").write_text(json.dumps(asdict(over)))
    assert estimated(sweep("--trials", "4")).startswith(told(2 * 218 / 3600))  # the second has an export


def test_its_page_says_what_all_trials_cost(write, sweep, tmp_path):
    planned = sweep("--trials", "2")
    planned.folder.write("sweep.json", json.dumps(planned.to_json()).encode())
    write("s/trials/000/0")
    write("s/trials/001/0", ended=None)
    write("s/trials/001/1", device="cuda", workers=2)
    cost = spent(planned.folder)
    assert cost.worker_hours == pytest.approx((30 + 18 + 60) / 3600)
    assert cost.gpu_hours == pytest.approx(60 / 3600)
    report.command([str(tmp_path / "s"), "--price-per-worker-hour", "100", "--out", str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text()
    assert "<b>0.03</b><span>worker-hours" in page
    assert "<b>3.00</b><span>at 100 a worker-hour" in page
