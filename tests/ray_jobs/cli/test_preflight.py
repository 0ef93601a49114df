"""What cannot work ends in one line before anything is started or written."""

import json

import pytest
import ray
import torch

from ray_jobs import train
from ray_jobs.launch import ray_internals, start
from ray_jobs.runs.job import GIB


@pytest.fixture
def refused_training(refused, tmp_path, tiny_argv, snapshot, monkeypatch):
    """Calls ``train pose`` with more options; it must be refused with nothing started and nothing written."""

    def not_now(*_, **__):
        raise AssertionError("Ray was started")

    monkeypatch.setattr(ray, "init", not_now)
    monkeypatch.setattr(start, "run_worker", not_now)

    def refused_training(*options):
        before = snapshot(tmp_path)
        argv = ["pose", *tiny_argv, "--storage", tmp_path / "runs", "--name", "a", *options]
        said = refused(train.command, *argv)
        assert snapshot(tmp_path) == before
        assert not [path for path in tmp_path.rglob("*") if path.is_dir() and not any(path.iterdir())]
        return said

    return refused_training


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--widht", "3"], "did you mean --width?"),
        (["--preset", "agin"], "did you mean aign?"),
        (["--batch-size", "17"], "use 16"),
        (["--workers", "1:40"], "40 workers"),
        (["--from", "nowhere"], "nowhere: is not a run"),
        (["--zero-stage", "3"], "use --zero-stage 2 or --r1 0"),
        (["--zero-stage", "3", "--r1", "0", "--compile"], "compile with zero_stage = 3"),
        (["--offload-optimizer"], "there is no GPU whose memory it could spare"),
        (["--offload-optimizer", "--zero-stage", "0"], "nothing is sharded"),
        (["--offload-optimizer", "--workers", "0"], "no effect with 0 workers"),
        (["--accumulate", "9"], "use 36 or more"),
        (["--ema", "1.5"], "ema = 1.5"),
        (["--clip", "-1"], "clip = -1"),
        (["--price-per-worker-hour", "1"], "no effect without --like"),
        (["--like", "runs/first"], "no effect without --dry-run"),
        (["--price-per-worker-hour", "-1", "--dry-run", "--like", "a"], "price_per_worker_hour = -1"),
    ],
)
def test_options_that_cannot_be(options, expected, refused_training):
    assert expected in refused_training(*options)


def test_a_compiled_network_on_a_cpu_needs_a_compiler(refused_training, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert "needs a C++ compiler" in refused_training("--compile")


def test_data_that_is_not_named(refused_training, monkeypatch):
    monkeypatch.delenv("AIGN_DATA", raising=False)
    said = refused_training("--data", "cmu")
    assert "AIGN_DATA: is not set" in said
    assert "cmu_mocap/joints_mm.npz" in said


def test_data_that_is_not_there(refused_training, monkeypatch, tmp_path):
    monkeypatch.setenv("AIGN_DATA", str(tmp_path))
    assert str(tmp_path / "cmu_mocap" / "joints_mm.npz") in refused_training("--data", "cmu")


def test_data_that_cannot_be_read(refused_training, monkeypatch, tmp_path):
    (tmp_path / "cmu_mocap").mkdir()
    (tmp_path / "cmu_mocap" / "joints_mm.npz").write_bytes(b"not a zip file")
    monkeypatch.setenv("AIGN_DATA", str(tmp_path))
    assert "joints_mm.npz" in refused_training("--data", "cmu")


def test_a_bucket_that_does_not_exist(refused_training, object_store):
    assert "aign-missing" in refused_training("--storage", "s3://aign-missing/runs")


def test_no_credentials(refused_training, object_store, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert "credentials" in refused_training("--storage", f"{object_store.bucket}/runs")


@pytest.mark.parametrize("workers", ["0", "2", "2:4"])
def test_gpus_that_are_not_there(workers, refused_training, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert refused_training("--device", "cuda", "--workers", workers).startswith("error: device = cuda: ")


def test_memory_that_is_not_there(refused_training, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_internals, "get_system_memory", lambda: 7 * GIB)
    said = refused_training("--workers", "2:4", "--memory-per-worker", "4")
    assert "2:4 workers with 4 GiB: this machine has 7.0 GiB; use a smaller --memory-per-worker" in said


@pytest.mark.parametrize("machines", ["spot", "on-demand"])
def test_a_machine_that_is_no_cluster_is_neither_spot_nor_on_demand(machines, refused_training, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    said = refused_training("--machines", machines)
    assert f"machines = {machines}: Ray on this machine alone does not know how it was bought" in said
    assert "or use a cluster (RAY_ADDRESS)" in said


def test_a_cluster_may_have_more_memory_and_other_machines(monkeypatch, tmp_path, tiny_argv, capsys):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    needs = ["--memory-per-worker", "100000", "--machines", "spot"]
    train.command(["pose", *tiny_argv, "--storage", str(tmp_path / "runs"), *needs, "--dry-run"])
    assert "dry run: all checks passed" in capsys.readouterr().out


def test_a_storage_folder_that_is_a_file(refused_training, tmp_path):
    (tmp_path / "runs").write_text("")
    assert str(tmp_path / "runs") in refused_training()


@pytest.fixture
def existing_run(tmp_path, tiny_argv, capsys):
    """The folder of a run named ``a`` that holds its config.json, as a run that has just started does."""
    argv = ["pose", *tiny_argv, "--storage", str(tmp_path / "runs"), "--name", "a", "--dry-run"]
    train.command(argv)
    config, _ = json.JSONDecoder().raw_decode(capsys.readouterr().out)

    def existing_run(**changes):
        folder = tmp_path / "runs" / "a"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config | {"metadata": {"data": "made up"}} | changes))

    return existing_run


def test_a_run_that_exists_with_other_options(existing_run, refused_training):
    existing_run()
    assert "width was 32, now 16" in refused_training("--steps", "13", "--width", "16")
    assert "steps was 12, now 11" in refused_training("--steps", "11")


def test_a_run_folder_of_another_task(existing_run, refused_training):
    existing_run(task="depth")
    assert "is a run of task 'depth', not 'pose'" in refused_training()


def test_a_run_folder_of_another_version(existing_run, refused_training):
    existing_run(options={"colour": "blue"})
    assert "colour" in refused_training()


def test_a_config_that_is_not_json(existing_run, refused_training, tmp_path):
    existing_run()
    (tmp_path / "runs" / "a" / "config.json").write_text("{")
    assert "config.json" in refused_training()


def test_another_placement_may_continue_a_run(existing_run, tmp_path, tiny_argv, capsys):
    existing_run()
    argv = ["pose", *tiny_argv, "--storage", str(tmp_path / "runs"), "--name", "a", "--zero-stage", "2", "--dry-run"]
    train.command(argv)
    assert "nothing was started" in capsys.readouterr().out
