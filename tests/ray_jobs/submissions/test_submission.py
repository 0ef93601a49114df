"""Submitting without a cluster: what is understood, refused, packed and numbered before anything is sent."""

import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import aign
import ray_jobs
from ray_jobs import jobs, submit
from ray_jobs.submissions.driver import ENVIRONMENT_FILE, load_environment
from ray_jobs.submissions.package import pack
from ray_jobs.submissions.submission import Submission, Submitted, submitted
from ray_jobs.submit import read_command
from tests.ray_jobs.submissions.fake_cluster import FakeCluster, Status

FACES = ["train", "superres", "--data", "folder", "--storage", "s3://bucket/runs"]
TRAIN = ("train", "pose", "--storage", "s3://bucket/runs")
SECRET = "secret-5b1d7c"


@pytest.fixture
def cluster(monkeypatch):
    """The cluster that all commands go to."""
    cluster = FakeCluster()
    cluster.use(monkeypatch)
    return cluster


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "name", "submission", "run"),
    [
        ((*TRAIN, "--name", "first"), None, "first", "first"),
        ((*TRAIN, "--name", "first"), "again", "again", "first"),
        ((*TRAIN, "--name=dated/first"), "again", "again", "dated/first"),
        (TRAIN, "first", "first", "first"),
        (("sweep", *TRAIN[1:], "--space", "alpha=fixed:{-2:2}"), "alphas", "alphas", "alphas"),
        (("compare", *TRAIN[1:], "--seeds", "0", "1"), "all", "all", "all"),
        (("compress", "s3://bucket/runs/first@40", *TRAIN[2:], "--flops", "0.5"), "thin", "thin", "thin"),
    ],
)
def test_a_run_is_called_as_its_submission_unless_it_has_a_name(words, name, submission, run):
    command = read_command(words, name)
    assert command.check() == []
    assert command.name == submission
    assert command.words[: len(words)] == words
    assert run in command.words[-1]
    assert {job.name.partition("/")[0] for job in command.jobs} <= {run.partition("/")[0]}


def test_a_command_without_a_name_gets_one_that_its_run_has_too():
    command = read_command(TRAIN, None)
    assert command.name.startswith("train-")
    assert command.words[-2:] == ("--name", command.name)


def test_a_command_on_a_run_is_called_by_its_verb():
    words = ("evaluate", "s3://bucket/runs/first")
    command = read_command(words, None)
    assert command.check() == []
    assert command.words == words
    assert command.name.startswith("evaluate-")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "no command: it comes behind --"),
        (["--", "trian", "pose"], "trian: cannot be submitted; choose one of train, sweep"),
        (["--", "submit", "--", "train"], "cannot be submitted"),
        (["--nmae", "a", "--", *TRAIN], "did you mean --name?"),
        (["--", *TRAIN, "--widht", "3"], "did you mean --width?"),
        (["--", *TRAIN, "--batch-size", "17"], "use 16"),
        (["--", *TRAIN, "--zero-stage", "3"], "use --zero-stage 2 or --r1 0"),
        (["--", "sweep", *TRAIN[1:], "--space", "alhpa=1"], "did you mean --alpha?"),
        (["--", "compare", *TRAIN[1:], "--presets", "agin"], "did you mean aign?"),
        (["--", "compress", "--flops", "0.5"], "a run comes first"),
        (["--", *TRAIN, "--name", "a/b"], "letters, digits and . _ -"),
        (["--name", "../a", "--", *TRAIN], "letters, digits and . _ -"),
        (["--", "train", "pose"], "--storage runs: is a folder of this machine"),
        (["--", "train", "pose", "--storage", "../runs"], "give s3://bucket/prefix"),
        (["--", *TRAIN, "--from", "runs/first@40"], "--from runs/first@40: is a folder of this machine"),
        (["--", "sweep", *TRAIN[1:], "--space", "seed=0|1", "--from", "runs/first"], "--from runs/first: is a folder"),
        (["--", *FACES, "--source", "photos"], "--source photos: is a folder of this machine"),
        (["--", "evaluate", "runs/first"], "run runs/first: is a folder of this machine"),
        (["--", "evaluate", "s3://bucket/runs/first", "--json", "first.json"], "json first.json"),
        (["--", "export", "s3://bucket/runs/first"], "out exported"),
        (["--", "compare", *TRAIN[1:], "--json", "all.json"], "--json all.json"),
        (["--pass-env", "AIGN_NOT_SET", "--", *TRAIN], "--pass-env AIGN_NOT_SET: is not set here"),
        (["--pass-env", "RAY_ADDRESS", "--", *TRAIN], "Ray's variables are the cluster's own"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_nothing_is_submitted(argv, expected, cluster, refused):
    assert expected in refused(submit.command, *argv)
    assert cluster.jobs == []


def test_a_local_folder_may_be_a_shared_one(tmp_path):
    known = read_command(["train", "pose", "--storage", str(tmp_path)], None).check()
    assert known == [f"--storage {tmp_path}: every machine of the cluster must have this folder, and share it"]


def test_storage_is_checked_with_the_credentials_that_the_command_will_have(object_store):
    command = read_command(["train", "pose", "--storage", "s3://aign-missing/runs"], "first")
    with pytest.raises(aign.errors.UserError, match="the bucket does not exist"):
        command.check_storage(same_credentials=True)
    assert "not checked: s3://aign-missing/runs" in command.check_storage(same_credentials=False)[0]


def test_a_run_with_other_options_is_found_in_storage(object_store, tmp_path):
    words = ["train", "pose", "--storage", f"{object_store.bucket}/{tmp_path.name}"]
    command = read_command(words, "first")
    assert command.check_storage(same_credentials=True) == []
    config = command.jobs[0].to_json() | {"metadata": {"data": "made up"}}
    command.jobs[0].folder.write("config.json", json.dumps(config).encode())
    assert command.check_storage(same_credentials=True) == []
    with pytest.raises(aign.errors.UserError, match=r"steps was \d+, now 3"):
        read_command([*words, "--steps", "3"], "first").check_storage(same_credentials=False)


# --- attempts --------------------------------------------------------------------------------------------------------


def submit_detached(*argv):
    submit.command(["--detach", *argv])


def test_a_name_runs_once_at_a_time(cluster, refused, capsys):
    submit_detached("--", *TRAIN, "--name", "first")
    assert capsys.readouterr().out == "first-1\n"
    said = refused(submit.command, "--", *TRAIN, "--name", "first")
    assert "first-1: is running already; follow it (aign jobs logs first --follow)" in said
    cluster.end("first-1", "FAILED")
    submit_detached("--", *TRAIN, "--name", "first")
    assert [job.submission_id for job in cluster.jobs] == ["first-1", "first-2"]


def test_who_comes_second_at_the_same_moment_is_refused(cluster, refused, monkeypatch):
    def too_late(**job):
        raise RuntimeError(f"ValueError: Job with submission_id {job['submission_id']} already exists.")

    monkeypatch.setattr(cluster, "submit_job", too_late)
    assert "first-1: has just been submitted" in refused(submit.command, "--", *TRAIN, "--name", "first")


def test_a_head_whose_agent_takes_no_job(cluster, refused, monkeypatch):
    def nobody(**job):
        raise RuntimeError("No available agent to submit job, please try again later.")

    monkeypatch.setattr(cluster, "submit_job", nobody)
    said = refused(submit.command, "--", *TRAIN, "--name", "first")
    assert "first-1: no agent there takes jobs" in said


def test_a_head_with_another_python(tmp_path):
    """One without this project's packages, as it is the first on the head's PATH."""
    root = Path(ray_jobs.__file__).parents[1]
    argv = [sys.executable, "-S", "-m", "ray_jobs.submissions.driver", "train", "pose"]
    job = subprocess.run(argv, cwd=tmp_path, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=300)
    assert job.returncode == 1
    assert job.stderr.startswith(f"error: {sys.executable}: has no ")
    assert job.stderr.count("\n") == 1


def test_resume_repeats_the_command_with_more_options(cluster, refused, monkeypatch):
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    submit_detached("--pass-env", "AWS_REGION", "--", *TRAIN, "--workers", "4")
    name = submitted(cluster.jobs)[0].submission.name
    assert "is running already" in refused(jobs.command, "resume", name, "--detach")
    jobs.command(["stop", name])
    jobs.command(["resume", name, "--workers", "1", "--detach"])
    first, second = (one.submission for one in submitted(cluster.jobs))
    assert second.words == (*first.words, "--workers", "1")
    assert second.variables == ("AWS_REGION",)
    assert read_command(second.words, None).jobs[0].placement.workers.most == 1
    assert (first.id, second.id) == (f"{name}-1", f"{name}-2")


def test_a_name_that_is_not_there_names_those_that_are(cluster, refused):
    submit_detached("--", *TRAIN, "--name", "first")
    assert "choose one that has: first" in refused(jobs.command, "status", "fist")
    assert "did you mean status?" in refused(jobs.command, "statsu", "first")


def test_list_has_a_row_for_each_name(cluster, capsys):
    for name in ("first", "other"):
        submit_detached("--", *TRAIN, "--name", name)
    cluster.end("first-1", "SUCCEEDED")
    submit_detached("--", *TRAIN, "--name", "first")
    capsys.readouterr()
    jobs.command(["list"])
    rows = [line.split("│")[1:4] for line in capsys.readouterr().out.splitlines() if "running" in line]
    assert [[cell.strip() for cell in row] for row in rows] == [["first", "2", "running"], ["other", "1", "running"]]


def test_status_tells_how_to_go_on(cluster, capsys):
    submit_detached("--", *TRAIN, "--name", "first")
    cluster.end("first-1", "FAILED").message = "a traceback\nImportError: no disk"
    jobs.command(["status", "first"])
    said = capsys.readouterr().out
    assert "first-1: failed with status 1 (ImportError: no disk); to go on: aign jobs resume first" in said
    assert shlex.join(["aign", *TRAIN]) in said


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [("SUCCEEDED", 0, 0), ("FAILED", 2, 2), ("FAILED", -9, 137), ("FAILED", None, 1), ("STOPPED", None, 143)],
)
def test_the_exit_status_is_that_of_the_command(status, code, expected):
    job = SimpleNamespace(status=Status(status), driver_exit_code=code)
    assert Submitted(Submission(name="a", words=TRAIN), job).status == expected


# --- what travels ----------------------------------------------------------------------------------------------------


def test_a_submission_is_read_back_from_its_job():
    words = ("sweep", "pose", "--space", "alpha=fixed:{-2:2}|gnc", "--bias", "Old == 1; rm -rf $HOME")
    sent = Submission(name="first", attempt=3, words=words, installed=True, variables=("AWS_REGION",))
    job = SimpleNamespace(metadata=json.loads(json.dumps(sent.metadata)))
    assert Submission.of(job) == sent
    assert tuple(shlex.split(sent.entrypoint)[-len(words) :]) == words
    assert tuple(shlex.split(sent.command)[1:]) == words


@pytest.mark.parametrize("metadata", [None, {}, {"aign": "{}"}, {"aign": "["}, {"aign": '{"words": [], "x": 1}'}])
def test_jobs_of_others_are_left_alone(metadata):
    assert Submission.of(SimpleNamespace(metadata=metadata)) is None


def test_the_code_travels_and_nothing_else(tmp_path):
    pack(tmp_path, code=True, variables=())
    packed = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    sources = [Path(package.__path__[0]) for package in (aign, ray_jobs)]
    kinds = ("*.py", "*.html", "*.safetensors")
    code = {
        f"{source.name}/{path.relative_to(source)}" for source in sources for k in kinds for path in source.rglob(k)
    }
    assert packed == code


def test_variables_travel_in_a_file_that_only_its_owner_reads(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        pack(tmp_path / name, code=False, variables=("AWS_SECRET_ACCESS_KEY",))
    one, other = (tmp_path / name / ENVIRONMENT_FILE for name in ("one", "other"))
    assert stat.S_IMODE(one.stat().st_mode) == 0o600
    assert one.read_bytes() != other.read_bytes()  # or the package's name, a hash, would tell what is in it
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the cluster")
    monkeypatch.chdir(tmp_path / "one")
    load_environment()
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET


def test_no_value_is_in_what_the_cluster_tells_of_a_job(cluster, monkeypatch, capsys):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    submit_detached("--pass-env", "AWS_SECRET_ACCESS_KEY", "--", *TRAIN, "--name", "first")
    jobs.command(["status", "first"])
    jobs.command(["list"])
    said = capsys.readouterr()
    assert SECRET not in f"{cluster.jobs} {said.out} {said.err}"
    assert ENVIRONMENT_FILE in cluster.jobs[0].files


def test_an_image_with_the_project_gets_no_code(monkeypatch):
    assert "working_dir" not in Submission(name="a", words=TRAIN, installed=True).runtime_env(Path("/x"))
    assert "working_dir" in Submission(name="a", words=TRAIN).runtime_env(Path("/x"))


def test_stopping_gets_the_time_that_saving_takes():
    env = Submission(name="a", words=TRAIN).runtime_env(Path("/x"))
    assert int(env["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) > 60  # which a run may take to send what waits
