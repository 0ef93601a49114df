"""Runs that begin with the weights of another run's checkpoint."""

import json

import pytest
import torch

from aign.errors import UserError
from aign.storage.store import Store
from aign.training.players import make_engines
from ray_jobs import train
from ray_jobs.cli.options import parse
from ray_jobs.cli.preflight import check
from ray_jobs.runs.checkpoints import checkpoint_steps, fetch_checkpoint
from ray_jobs.runs.warm_start import begin
from ray_jobs.worker.deepspeed_engine import DeepSpeedEngine

PLAIN = ("--workers", "0")


@pytest.fixture(scope="module")
def source(tiny_argv, tmp_path_factory):
    """The folder of a finished run of one process, with checkpoints of steps 8 and 12."""
    storage = tmp_path_factory.mktemp("runs")
    train.command(["pose", *tiny_argv, *PLAIN, "--storage", str(storage), "--name", "source"])
    return storage / "source"


@pytest.fixture
def argv(tiny_argv, tmp_path):
    """The command line of another run."""
    return ["pose", *tiny_argv, *PLAIN, "--storage", str(tmp_path), "--name", "run"]


def test_a_store_that_does_not_answer_is_named_before_the_run(argv, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(UserError) as refused:
        check(parse([*argv, "--from", "s3://bucket/run"]).job)
    assert refused.value.value == "s3://bucket/run"
    assert str(refused.value).count("s3://") == 1


def begun(argv):
    """Engines of a job, after its beginning, and the job."""
    job = check(parse(argv).job)
    engines = make_engines(job.run.make_task(), job.run.training)
    begin(job, engines)
    return engines, job


def stored(run, step, scratch, player):
    return fetch_checkpoint(Store(run), step, scratch).engines[player]


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize(("suffix", "step"), [("", 12), ("@8", 8)])
def test_both_networks_are_taken_over_and_nothing_else(suffix, step, source, argv, tmp_path):
    engines, job = begun([*argv, "--from", f"{source}{suffix}"])
    assert job.run.init_from == f"{source}@{step}"
    for player in ("generator", "discriminators"):
        ours = getattr(engines, player).state()
        assert_same(ours.weights, stored(source, step, tmp_path / player, player).weights)
        assert not ours.meta["updates"]


@pytest.fixture(scope="module")
def group_of_one():
    """What DeepSpeed makes to have a process group; it ends with these tests."""
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_every_zero_stage_begins_with_them(zero_stage, source, argv, tmp_path, group_of_one):
    job = check(parse([*argv, "--from", str(source)]).job)

    def engine(module, optimizer, updates):
        return DeepSpeedEngine(module, optimizer, updates, zero_stage=zero_stage, micro_batch_size=16)

    engines = make_engines(job.run.make_task(), job.run.training, engine)
    begin(job, engines)
    ours = engines.generator.state()
    assert_same(ours.weights, stored(source, 12, tmp_path / "other", "generator").weights)
    assert not ours.meta["updates"]


def test_critics_that_the_other_run_has_not_stay_fresh(source, argv, tmp_path):
    more = ("--discriminators", "joints", "factors")
    job = check(parse([*argv, *more]).job)
    fresh = make_engines(job.run.make_task(), job.run.training).discriminators.state().weights
    engines, _ = begun([*argv, *more, "--from", str(source)])
    ours = engines.discriminators.state().weights
    theirs = stored(source, 12, tmp_path / "other", "discriminators").weights
    assert set(theirs) < set(ours)
    assert_same(ours, fresh | theirs)


def test_what_a_run_began_with_is_recorded_and_not_loaded_again(source, argv, tmp_path, capsys):
    train.command([*argv, "--from", f"{source}@8"])
    run = tmp_path / "run"
    assert json.loads((run / "config.json").read_text())["init_from"] == f"{source}@8"
    assert checkpoint_steps(Store(run)) == [12, 8]
    (run / "export" / "config.json").unlink()
    train.command([*argv, "--from", str(source)])  # the newest is another one: it keeps the one it began with
    assert "run goes on from step 12" in capsys.readouterr().out
    assert json.loads((run / "config.json").read_text())["init_from"] == f"{source}@8"


@pytest.mark.parametrize(
    ("address", "options", "expected"),
    [
        ("{}@7", (), "has checkpoints of steps 8, 12; give one of them"),
        ("{}/checkpoints", (), "is a part of a run"),
        ("{}", ("--width", "16"), "width was 32, now 16"),
        ("{}", ("--num-blocks", "2"), "num_blocks was 1, now 2"),
        ("", (), "names no run"),
    ],
)
def test_what_it_cannot_begin_with_is_one_line(address, options, expected, source, argv, refused, tmp_path):
    assert expected in refused(train.command, *argv, *options, "--from", address.format(source))
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_task_or_without_a_checkpoint(source, argv, refused, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    config = json.loads((source / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"task": "depth"}))
    assert "is a run of task 'depth', not 'pose'" in refused(train.command, *argv, "--from", other)
    (other / "config.json").write_text(json.dumps(config))
    assert "has no checkpoint" in refused(train.command, *argv, "--from", other)


def test_a_run_that_began_otherwise_is_another_run(source, argv, refused):
    train.command([*argv, "--from", f"{source}@8"])
    assert "init_from was" in refused(train.command, *argv)
    assert "init_from was" in refused(train.command, *argv, "--from", f"{source}@12")
