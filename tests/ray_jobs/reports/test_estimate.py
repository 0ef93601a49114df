"""What a run will cost, from a made-up run of known times."""

import json
import uuid

import pytest

from aign.errors import UserError
from ray_jobs import compare, train
from ray_jobs.cli.options import parse
from ray_jobs.reports.estimate import estimate, to_do
from tests.ray_jobs.made_up import export_of

LIKE = ["--batch-size", "32", "--steps", "60"]


@pytest.fixture
def job(tmp_path):
    """A job of 1000 steps that is like the made-up runs."""

    def job(*argv):
        return parse(["pose", "--storage", str(tmp_path), "--name", "next", *LIKE, "--steps", "1000", *argv]).job

    return job


@pytest.fixture
def write(write_run, logged, tmp_path):
    """Writes a run with lines at these steps and seconds, 0.2 s a step and 18 s beside them by default."""

    def write(name, *argv, lines=((20, 10), (40, 14), (60, 18)), finished=True, began=0, **record):
        own = [logged(step, 1.0, at=began + at) for step, at in lines]
        record = {"began": began, "ended": began + 30, **record}
        return write_run(tmp_path / name, (record, own), argv=[*LIKE, *argv], finished=finished)

    return write


def cost(job, like, price=None):
    return estimate(to_do(job), str(like), price)


def test_it_is_workers_times_a_beginning_an_end_and_all_steps(write, job, tmp_path):
    write("first")
    hours = 2 * (18 + 1000 * 0.2) / 3600
    assert cost(job(), tmp_path / "first", 5.0) == (
        f"about {hours:.3g} worker-hours, {5 * hours:.2f} at 5 a worker-hour, "
        f"as {tmp_path}/first (2 workers, 0.2 s a step and 18 s beside them)"
    )


def test_more_workers_cost_more_and_none_is_one(write, job, tmp_path):
    write("first")
    for argv, workers in ((["--workers", "1:4"], 4), (["--workers", "0"], 1)):
        assert f"about {workers * 218 / 3600:.3g} worker-hours" in cost(job(*argv), tmp_path / "first")


def test_without_a_run_like_it_nobody_knows(job):
    assert estimate(to_do(job()), None, None).startswith("not known; --like RUN")


def test_what_is_no_run_or_too_short_is_refused(write, job, tmp_path):
    write("short", lines=((20, 10), (40, 14)))
    write("damaged").write("attempts/001.json", b"{damaged")
    for name in ("nothing", "short", "damaged"):
        with pytest.raises(UserError, match=name):
            cost(job(), tmp_path / name)


def test_all_attempts_of_an_interrupted_run_tell(write_run, logged, tmp_path, job):
    cut_off = [logged(20, 1.0, at=10), logged(40, 1.0, at=16), logged(60, 1.0, at=22)]
    second = [logged(60, 1.0, at=110), logged(80, 1.0, at=114)]
    other_place = [logged(100, 1.0, at=300), logged(120, 1.0, at=400)]
    attempts = [
        ({"began": 0}, cut_off),
        ({"began": 100, "ended": 130, "start_step": 40}, second),
        ({"began": 200, "start_step": 80, "workers": 1}, other_place),
    ]
    write_run(tmp_path / "first", *attempts, argv=LIKE)
    pace = (6 + 6 + 4) / 60
    hours = 2 * (1000 * pace + 30 - 40 * pace) / 3600
    assert f"about {hours:.3g} worker-hours" in cost(job(), tmp_path / "first")


def test_every_stage_counts_as_long_as_it_lasts(write_run, logged, tmp_path, job):
    lines = [logged(20, 1.0, stage="supervised", at=10), logged(25, 1.0, stage="supervised", at=11)]
    lines += [logged(40, 1.0, at=26), logged(100, 1.0, at=86)]  # 0.2 s a step, then 1 s
    write_run(tmp_path / "first", ({"began": 0, "ended": 100}, lines), argv=LIKE)
    assert "0.8 s a step and 20 s beside them" in cost(job(), tmp_path / "first")


def test_a_run_in_an_object_store_tells_the_same(write_run, logged, job, object_store):
    storage = f"{object_store.bucket}/{uuid.uuid4().hex}"
    lines = [logged(step, 1.0, at=6 + step / 5) for step in (20, 40, 60)]
    write_run(f"{storage}/first", ({"began": 0, "ended": 30}, lines), argv=LIKE)
    assert f"about 0.121 worker-hours, as {storage}/first (" in cost(job("--storage", storage), f"{storage}/first")


def test_only_what_is_left_to_do_counts(write, job, tmp_path):
    write("first")
    run = write("next", finished=False)
    run.write("checkpoints/step_0000400/state.json", b"{}")
    assert f"about {2 * (18 + 600 * 0.2) / 3600:.3g} worker-hours" in cost(job(), tmp_path / "first")
    run.write("checkpoints/step_0001000/state.json", b"{}")
    run.write("export/config.json", export_of(1000))
    assert cost(job(), tmp_path / "first", 1.0) == "none, nothing is left to do"


def test_gpus_are_counted_too(write, job, tmp_path):
    argv = ["--device", "cuda"]
    write("first", *argv, device="cuda")
    assert "about 0.121 worker-hours, 0.121 GPU-hours, as" in cost(job(*argv), tmp_path / "first")


def test_the_papers_rule_may_end_sooner(write, job, tmp_path):
    argv = ["--update-rule", "paper"]
    write("first", *argv)
    assert cost(job(*argv, "--theta-d", "0.6"), tmp_path / "first").startswith("at most about 0.121 worker-hours")


def test_a_dry_run_says_it_behind_what_programs_read(write, tmp_path, capsys):
    write("first", "--workers", "0", workers=1, zero_stage=None)
    argv = ["pose", *LIKE, "--workers", "0", "--steps", "1000", "--storage", str(tmp_path), "--name", "next"]
    train.command([*argv, "--dry-run", "--like", str(tmp_path / "first"), "--price-per-worker-hour", "100"])
    said = capsys.readouterr().out
    printed, end = json.JSONDecoder().raw_decode(said)
    assert "price" not in json.dumps(printed)
    assert said[end:].splitlines()[-1].startswith("cost: about 0.0606 worker-hours, 6.06 at 100 a worker-hour, as")
    assert not (tmp_path / "next").exists()


def test_a_comparison_is_all_its_runs_and_a_dry_run_of_it_starts_nothing(write, tmp_path, capsys):
    argv = ["--workers", "0", "--preset", "aign"]
    write("first", *argv, workers=1, zero_stage=None)
    argv = ["pose", *LIKE, "--workers", "0", "--steps", "1000", "--storage", str(tmp_path), "--name", "all"]
    like = ["--like", str(tmp_path / "first")]
    compare.command([*argv, "--presets", "aign", "--seeds", "0", "1", "2", "--dry-run", *like])
    said = capsys.readouterr().out
    printed, _ = json.JSONDecoder().raw_decode(said)
    assert [run["name"] for run in printed["runs"]] == [f"all/aign-seed{seed}" for seed in range(3)]
    assert f"train 3 runs, 1 at a time, and write {tmp_path}/all\n" in said
    assert f"cost: about {3 * 218 / 3600:.3g} worker-hours" in said
    assert not (tmp_path / "all").exists()
