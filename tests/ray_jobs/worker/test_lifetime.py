"""A run is finished when all of it is in the store, and goes on with whatever leaves its numbers as they are."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from aign.storage.errors import StoreAway
from aign.storage.store import Store
from aign.tasks.pose import PoseEvaluator, PoseObjective
from aign.training.run_config import RunConfig
from ray_jobs import train
from ray_jobs.cli.console import run_command
from ray_jobs.cli.options import parse
from ray_jobs.launch.start import launch
from ray_jobs.runs.checkpoints import checkpoint_steps
from ray_jobs.runs.folder import finished_export, read_export
from ray_jobs.storage.spool import Spool
from ray_jobs.storage.waiting_room import waiting_room, waits_here
from ray_jobs.worker import lifetime
from ray_jobs.worker.stopped import Stopped

PLAIN = ("--workers", "0", "--device", "cpu")


@pytest.fixture(scope="module")
def undisturbed(tiny_argv, tmp_path_factory):
    """The folder of a run of twelve steps that nothing has happened to."""
    storage = tmp_path_factory.mktemp("runs")
    train.command(["pose", *tiny_argv, *PLAIN, "--storage", str(storage), "--name", "run"])
    return storage / "run"


@pytest.fixture
def argv(tiny_argv, tmp_path):
    return ["pose", *tiny_argv, *PLAIN, "--storage", str(tmp_path / "runs"), "--name", "run"]


@pytest.fixture
def run(tmp_path):
    return Store(tmp_path / "runs" / "run")


@pytest.fixture
def status_of(capsys):
    """Calls ``train``; gives its status and the last line on stderr."""

    def status_of(argv):
        capsys.readouterr()
        try:
            run_command(train.command, argv)
        except SystemExit as ended:
            return ended.code, (capsys.readouterr().err.splitlines() or [""])[-1]
        return 0, ""

    return status_of


def attempt(run, number=1):
    return json.loads(run.read(f"attempts/{number:03d}.json"))


def assert_same_weights(run, other):
    ours, theirs = (load_file(f"{folder}/export/generator.safetensors") for folder in (run.uri, other))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in theirs)


# --- the order of the end --------------------------------------------------------------------------------------------


def test_everything_else_is_on_its_way_before_the_export_is(argv, run, monkeypatch):
    order = []
    for name in ("put", "put_folder", "remove"):
        original = getattr(Spool, name)

        def note(spool, *args, _original=original, _name=name, **kwargs):
            order.append(args[1] if _name == "put_folder" else args[0])
            return _original(spool, *args, **kwargs)

        monkeypatch.setattr(Spool, name, note)
    train.command(argv)
    assert order[-2:] == ["export", "attempts/001.json"]
    assert {"checkpoints/step_0000012", "pictures/step_0000012.png"} <= set(order[:-2])
    assert attempt(run)["status"] == "finished"
    assert not run.exists("claims")


@pytest.fixture
def store_away(monkeypatch):
    """From now on a store does not take files below a path; ``store_away(None)`` brings it back."""
    upload, away = Store.upload, []

    def refuse(store, local_file, path):
        if away and path.startswith(away[-1]):
            raise StoreAway(store.uri, "does not answer", "wait")
        upload(store, local_file, path)

    monkeypatch.setattr(Store, "upload", refuse)
    monkeypatch.setattr(lifetime, "SECONDS_BETWEEN_TRIES", 0.1)
    monkeypatch.setattr(lifetime, "SECONDS_TO_SEND_THE_REST", 0.1)

    def store_away(path):
        away[:] = [path] if path else []

    yield store_away
    away.clear()


@pytest.mark.parametrize("path", ["checkpoints/step_0000012", "export"])
@pytest.mark.parametrize("machine", ["this one", "another one"])
def test_what_did_not_arrive_is_completed_by_the_same_command(
    path, machine, argv, run, status_of, store_away, undisturbed, monkeypatch, tmp_path
):
    store_away(path)
    status, said = status_of([*argv, "--store-patience", "0"])
    assert status == 1
    assert str(waiting_room(run)) in said
    assert read_export(run) is None
    store_away(None)
    if machine == "another one":
        shutil.rmtree(waiting_room(run))
    assert status_of(argv) == (0, "")
    assert_same_weights(run, undisturbed)
    assert run.names("attempts") == (["001.json"] if machine == "this one" else ["001.json", "002.json"])
    assert not waits_here(run)


def test_a_store_that_is_back_in_time_is_waited_for(argv, run, status_of, store_away, monkeypatch):
    flush = Spool.flush

    def come_back(spool, timeout_s):
        arrived = flush(spool, timeout_s)
        if run.exists("checkpoints/step_0000012"):
            store_away(None)
        return arrived

    monkeypatch.setattr(Spool, "flush", come_back)
    store_away("export")
    assert status_of(argv) == (0, "")
    assert finished_export(parse(argv).job)


def test_an_export_without_the_last_checkpoint_is_not_the_end(argv, run, undisturbed, status_of):
    """As a run leaves it that was killed between them."""
    train.command(argv)
    run.remove("checkpoints/step_0000012")
    assert read_export(run) is None
    assert status_of(argv) == (0, "")
    assert checkpoint_steps(run)[0] == 12
    assert_same_weights(run, undisturbed)


# --- how an attempt ended --------------------------------------------------------------------------------------------


def test_a_failed_attempt_says_why_and_tells_no_secret(argv, run, status_of, monkeypatch):
    secret = "a-secret-of-this-test"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)

    def fail(*_):
        raise RuntimeError(f"out of\npatience with {secret}")

    monkeypatch.setattr(PoseEvaluator, "measure", fail)
    assert status_of(argv)[0] == 1
    ended = attempt(run)
    assert (ended["status"], ended["reason"]) == ("failed", "RuntimeError: out of patience with ***")
    assert ended["began"] < ended["ended"]


def test_a_run_whose_values_cannot_be_trained_says_which(argv, run, status_of, monkeypatch):
    monkeypatch.setattr(PoseObjective, "priors", lambda self, inferred: {"prior": torch.tensor(torch.nan)})
    assert status_of(argv)[0] == 2
    assert attempt(run)["status"] == "failed"
    assert attempt(run)["reason"].startswith("loss term ")


def test_an_attempt_that_fails_before_its_first_step_says_why(argv, run, status_of, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no such data")

    monkeypatch.setattr(RunConfig, "make_task", fail)
    assert status_of(argv)[0] == 1
    assert attempt(run)["reason"] == "RuntimeError: no such data"


# --- longer, and with other options ----------------------------------------------------------------------------------


CONSTANT = ("--lr-schedule", "constant")
ONE_STAGE = ("--preset", "forward2dto3d", *CONSTANT)


@pytest.mark.parametrize("other", [[], ["--evaluate-every", "3", "--checkpoint-every", "5", "--log-every", "3"]])
def test_a_finished_run_is_made_longer(other, argv, run, status_of, tmp_path):
    argv = [*argv, *ONE_STAGE]
    assert status_of([*argv, "--name", "whole"]) == (0, "")
    assert status_of([*argv, *other, "--steps", "8"]) == (0, "")
    assert attempt(run)["status"] == "finished"
    assert status_of(argv) == (0, "")
    assert_same_weights(run, tmp_path / "runs" / "whole")
    assert finished_export(parse(argv).job)["progress"].step == 12
    assert json.loads(run.read("config.json"))["training"]["steps"] == 12
    assert attempt(run, 2)["start_step"] == 8


def test_a_stopped_run_in_its_first_stage_is_made_longer(argv, run, status_of, tmp_path):
    argv = [*argv, *CONSTANT]
    assert status_of([*argv, "--steps", "24", "--name", "whole"]) == (0, "")
    job = parse(argv).job  # whose first stage is 3 of 12 steps long, and 6 of 24
    with pytest.raises(Stopped):
        launch(dataclasses.replace(job, until=2), lambda event: None)
    assert status_of([*argv, "--steps", "24"]) == (0, "")
    assert_same_weights(run, tmp_path / "runs" / "whole")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--lr-schedule", "linear"], "lr_schedule = linear"),
        ([*ONE_STAGE, "--alpha", "linear:2:0"], "alpha = linear:2:0"),
        (CONSTANT, "stages"),
    ],
)
def test_what_goes_by_the_length_of_a_run_keeps_it(options, reason, argv, run, status_of):
    assert status_of([*argv, *options]) == (0, "")
    status, said = status_of([*argv, *options, "--steps", "24"])
    assert status == 2
    assert reason in said
    assert run.names("attempts") == ["001.json"]


def test_a_run_is_not_made_shorter(argv, run, status_of):
    train.command(argv)
    assert status_of([*argv, "--steps", "8"])[0] == 2


def test_another_seed_is_another_run_and_the_refusal_says_what_may_change(argv, run, status_of):
    train.command(argv)
    status, said = status_of([*argv, "--seed", "1"])
    assert status == 2
    assert "seed was 0, now 1" in said
    assert "log_every" in said
    assert run.names("attempts") == ["001.json"]


@pytest.mark.parametrize(
    "changes",
    [{"source": "/elsewhere"}, {"log_every": 7}, {"steps": 9}, {"judge_attribute": "Old == 1"}, {"features": "/a"}],
)
def test_what_changes_no_number_is_no_part_of_the_recipe(changes):
    options = {"data": "folder", "source": "/here"}
    first, second = (RunConfig.of("superres", **{**options, **more}) for more in ({}, changes))
    assert first != second
    assert first.recipe() == second.recipe()


@pytest.mark.parametrize("changes", [{"seed": 1}, {"width": 8}, {"table": "b.csv"}, {"lr_schedule": "linear"}])
def test_what_changes_numbers_is(changes):
    options = {"data": "folder", "source": "/here"}
    assert RunConfig.of("superres", **options).recipe() != RunConfig.of("superres", **options, **changes).recipe()


# --- two commands ----------------------------------------------------------------------------------------------------


def test_commands_of_one_second_have_runs_of_their_own():
    assert parse(["pose"]).job.name != parse(["pose"]).job.name


def test_of_two_commands_at_once_on_two_hosts_one_goes_on(object_store, tiny_argv, tmp_path):
    storage = f"{object_store.bucket}/{tmp_path.name}"
    commands = []
    for seed in ("0", "1"):
        own = tmp_path / seed
        own.mkdir()
        words = ["pose", *tiny_argv, *PLAIN, "--storage", storage, "--name", "run", "--seed", seed]
        environment = {**os.environ, "TMPDIR": str(own), "AIGN_SPOOL": str(own)}
        command = [sys.executable, "-m", "ray_jobs.train", *words]
        commands.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
    said = [command.communicate()[1].decode() for command in commands]
    statuses = [command.returncode for command in commands]
    assert sorted(statuses) == [0, 2], said
    winner = statuses.index(0)
    run = Store(storage) / "run"
    assert json.loads(run.read("config.json"))["training"]["seed"] == winner
    for step in checkpoint_steps(run):
        state = json.loads(run.read(f"checkpoints/step_{step:07d}/state.json"))
        assert state["job"]["training"]["seed"] == winner
    assert f"seed was {winner}, now {1 - winner}" in said[1 - winner]
