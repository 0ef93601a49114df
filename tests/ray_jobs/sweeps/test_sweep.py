"""Whole sweeps on a real Ray: results, what fails, what is stopped, populations, going on after a kill."""

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import ray

from aign.storage.store import Store
from ray_jobs import report
from ray_jobs.cli.console import run_command
from ray_jobs.sweep import command
from ray_jobs.train import command as train
from tests.object_store import KEYS, files_with

pytestmark = pytest.mark.ray


def read(folder, path):
    return json.loads(Store(str(folder)).read(path))


def rows(folder):
    return list(csv.DictReader(io.StringIO(Store(str(folder)).read("trials.csv").decode())))


def attempts(folder):
    """How often each run of a sweep was begun."""
    store = Store(str(folder))
    runs = [
        f"trials/{trial}/{run}"
        for trial in store.names("trials")
        for run in store.names(f"trials/{trial}")
        if run.isdecimal()
    ]
    return {run: len(store.names(f"{run}/attempts")) for run in runs}


@pytest.fixture
def sweep_argv(tiny_argv, tmp_path):
    return ["pose", *tiny_argv, "--evaluate-every", "4", "--storage", str(tmp_path), "--name", "s"]


def again(said):
    """The command that the console gives for the best trial."""
    line = next(line for line in said.splitlines() if line.startswith("again: "))
    return line.removeprefix("again: aign train ").split()


def test_every_trial_is_recorded_one_that_fails_too_and_nothing_is_run_twice(
    ray_local, sweep_argv, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # trials stand in other folders
    sweep_argv[sweep_argv.index(str(tmp_path))] = "."
    argv = [*sweep_argv, "--workers", "0", "--search", "grid", "--precision", "fp16"]
    argv += ["--space", "generator_lr=1e-3|10", "alpha=gnc|fixed:1"]
    command(argv)
    said = capsys.readouterr().out
    found = {(row["generator_lr"], row["alpha"]): row for row in rows(tmp_path / "s")}
    assert {key: row["status"] for key, row in found.items()} == {
        ("1e-3", "gnc"): "finished",
        ("1e-3", "fixed:1"): "finished",
        ("10", "gnc"): "failed",
        ("10", "fixed:1"): "failed",
    }
    assert "is nan at step" in found["10", "gnc"]["reason"]
    page = (tmp_path / "s/report.html").read_text()
    assert len(list((tmp_path / "s/report").iterdir())) == 3
    assert page.count("data:image/png;base64,") == 3 + 2  # and the newest pictures of the trials that finished
    assert "2048 samples, macro mean over actions" in page
    assert "worker-hours" in page

    report.command([str(tmp_path / "s"), "--out", str(tmp_path / "again.html")])
    assert (tmp_path / "again.html").read_text() == page

    best = min((row for row in found.values() if row["status"] == "finished"), key=lambda row: float(row["objective"]))
    train([*again(said), "--name", "again"])
    assert read(tmp_path / "again", "export/config.json")["validation"]["metrics"]["torso_aligned_mm"] == float(
        best["objective"]
    )

    before = attempts(tmp_path / "s")
    command(argv)
    assert attempts(tmp_path / "s") == before
    assert set(before.values()) == {1}

    logs = Path(ray._private.worker._global_node.get_logs_dir_path())  # of all that was started
    assert not files_with(KEYS["AWS_SECRET_ACCESS_KEY"], logs)


def test_asha_ends_the_worse_trial_early_on_real_workers(ray_local, sweep_argv, tmp_path):
    command(
        [*sweep_argv, "--workers", "1", "--scheduler", "asha", "--search", "grid", "--space", "generator_lr=5e-3|0"]
    )
    good, bad = rows(tmp_path / "s")
    assert (good["status"], good["step"]) == ("finished", "12")
    assert (bad["status"], bad["step"]) == ("stopped", "4")
    assert read(tmp_path / "s", "trials/000/0/attempts/001.json")["zero_stage"] == 1
    assert (tmp_path / "s/report/every_metric_by_generator_lr.png").exists()


def test_a_population_exploits_and_its_best_path_is_one_run(ray_local, sweep_argv, tmp_path, capsys):
    command(
        [
            *[*sweep_argv, "--workers", "0", "--scheduler", "pbt", "--trials", "4", "--max-concurrent", "2"],
            *["--space", "alpha=fixed:{-2:2}", "scale_px=fixed:{log:0.5:50}"],
        ]
    )
    said = capsys.readouterr().out
    records = [read(tmp_path / "s", f"trials/{trial:03d}/trial.json") for trial in range(4)]
    assert [record["status"] for record in records] == ["finished"] * 4
    assert [[clock for clock, _ in record["history"]] for record in records] == [[4, 8, 12]] * 4
    exploited = [record for record in records if len(record["path"]) > 1]
    assert exploited
    for record in exploited:
        *donors, last = record["path"]
        assert last["run"].startswith(f"trials/{record['trial']:03d}/")
        assert donors[-1]["run"].split("/")[1] != last["run"].split("/")[1]
        assert last["step"] in (4, 8)
        assert last["values"] != donors[-1]["values"]
        begun = read(tmp_path / "s", f"{last['run']}/attempts/001.json")
        assert begun["start_step"] == last["step"]
    # every path is the history of one run whose schedule takes its steps
    best = min(records, key=lambda record: record["objective"])
    train([*again(said), "--name", "again"])
    measured = read(tmp_path / "again", "export/config.json")["validation"]["metrics"]
    assert measured["torso_aligned_mm"] == best["objective"]


def test_a_trial_that_crashes_does_not_end_the_sweep_and_is_tried_again(ray_local, sweep_argv, tmp_path, capsys):
    argv = [*sweep_argv, "--workers", "0", "--search", "grid", "--space", "seed=0|1"]
    argv += ["--steps", "300", "--evaluate-every", "300"]
    first = tmp_path / "s/trials/000/0/config.json"

    def kill_the_first():
        while not first.exists():
            time.sleep(0.02)
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "ResourceTrainable.train" in " ".join(process.cmdline()):
                    process.kill()

    killer = threading.Thread(target=kill_the_first, daemon=True)
    killer.start()
    with pytest.raises(RuntimeError, match="1 of 2 trials crashed"):
        command(argv)
    killer.join()
    assert [row["status"] for row in rows(tmp_path / "s")] == ["crashed", "finished"]
    said = capsys.readouterr().out
    assert "crashed: The actor is dead because its worker process has died" in said
    assert "the same command tries it again" in said
    command(argv)
    assert [row["status"] for row in rows(tmp_path / "s")] == ["finished", "finished"]
    assert attempts(tmp_path / "s") == {"trials/000/0": 2, "trials/001/0": 1}  # nothing is begun from the start


def test_a_killed_sweep_goes_on_and_finished_trials_are_not_touched(object_store, tiny_argv, tmp_path, capfd):
    storage = f"{object_store.bucket}/{tmp_path.name}"
    argv = [
        *["pose", *tiny_argv, "--evaluate-every", "4", "--workers", "0", "--storage", storage, "--name", "s"],
        *["--space", "seed=0|1|2|3", "--search", "grid"],
    ]
    killed = subprocess.Popen([sys.executable, "-m", "ray_jobs.sweep", *argv], stdout=subprocess.DEVNULL)
    folder = Store(f"{storage}/s")
    deadline = time.monotonic() + 240
    while not any(read(folder.uri, f"trials/{t}/trial.json")["status"] == "finished" for t in _recorded(folder)):
        assert time.monotonic() < deadline, "no trial has finished"
        assert killed.poll() is None
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    finished = [t for t in _recorded(folder) if read(folder.uri, f"trials/{t}/trial.json")["status"] == "finished"]
    assert len(finished) < 4
    before = {t: folder.read(f"trials/{t}/trial.json") for t in finished}

    ended = subprocess.run([sys.executable, "-m", "ray_jobs.sweep", *argv], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert [row["status"] for row in rows(folder.uri)] == ["finished"] * 4
    assert {t: folder.read(f"trials/{t}/trial.json") for t in finished} == before
    assert all(attempts(folder.uri)[f"trials/{t}/0"] == 1 for t in finished)


def _recorded(folder):
    return [t for t in folder.names("trials") if folder.exists(f"trials/{t}/trial.json")]


def test_a_population_that_is_asked_to_stop_goes_on_where_it_was(ray_local, sweep_argv, tmp_path, capsys):
    argv = [*sweep_argv, "--workers", "0", "--scheduler", "pbt", "--trials", "3", "--max-concurrent", "2"]
    argv += ["--space", "alpha=fixed:{-2:2}"]

    def ask_after_the_first_exchange():
        while (
            not (tmp_path / "s/trials/002/trial.json").exists() or not read(tmp_path, "s/trials/002/trial.json")["step"]
        ):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask_after_the_first_exchange, daemon=True).start()
    with pytest.raises(SystemExit) as ended:
        run_command(command, argv)
    assert ended.value.code == 143
    assert "3 of 3 trials to go; the same command goes on from there" in capsys.readouterr().out
    command(argv)
    assert [row["status"] for row in rows(tmp_path / "s")] == ["finished"] * 3
    assert [row["step"] for row in rows(tmp_path / "s")] == ["12"] * 3


def test_a_sweep_ends_with_its_budget_and_goes_on_with_another(ray_local, sweep_argv, tmp_path):
    argv = [*sweep_argv, "--workers", "0", "--space", "seed=0|1", "--search", "grid"]
    command([*argv, "--budget-hours", "1e-9"])
    assert not (tmp_path / "s/trials/001/0/export").exists()
    command(argv)
    assert [row["status"] for row in rows(tmp_path / "s")] == ["finished"] * 2
