"""Results of every verb go where they are wanted, on disk or in a store, or are refused before the work."""

import errno
import json
import os
import uuid

import pytest
import torch

from aign.errors import UserError
from aign.fitting.registration.__main__ import main as register
from aign.storage.store import Store
from ray_jobs import compare, evaluate, export, predict, report, train
from ray_jobs.cli.console import run_command
from ray_jobs.cli.outputs import OutputFile, OutputFolder
from ray_jobs.runs.folder import open_run

FILES = {"evaluate": "--json", "compare": "--json", "report": "--out"}
FOLDERS = {"predict": "--out", "export": "--out"}
COMMANDS = {verb.__name__.rpartition(".")[2]: verb.command for verb in (compare, evaluate, export, predict, report)}


@pytest.fixture(scope="module")
def run(tiny_argv, tmp_path_factory):
    """The folder of a finished run, and beside it keypoints to predict from."""
    storage = tmp_path_factory.mktemp("runs")
    train.command(["pose", *tiny_argv, "--workers", "0", "--storage", str(storage), "--name", "plain"])
    task = open_run(str(storage / "plain")).task
    keypoints = task.model.example(2, torch.Generator().manual_seed(0))["keypoints_px"]
    (storage / "keypoints.json").write_text(json.dumps(keypoints.tolist()))
    return storage / "plain"


def arguments(verb, run, tiny_argv):
    """A command that ends well, but for its outputs."""
    if verb == "compare":
        place = ["--storage", str(run.parent), "--name", "compared", "--workers", "0"]
        return ["pose", *tiny_argv, "--presets", "aign", *place]
    return [str(run), str(run.parent / "keypoints.json")] if verb == "predict" else [str(run)]


def call(verb, *argv):
    COMMANDS[verb]([str(word) for word in argv])


@pytest.mark.parametrize("verb", [*FILES, *FOLDERS])
@pytest.mark.parametrize("where", ["local", "store"])
def test_results_arrive_and_nothing_else_is_left(verb, where, run, tiny_argv, tmp_path, object_store, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = f"{object_store.bucket}/{uuid.uuid4().hex}" if where == "store" else str(tmp_path / "new")
    option, name = (FILES[verb], "a/result") if verb in FILES else (FOLDERS[verb], "a")
    call(verb, *arguments(verb, run, tiny_argv), option, f"{base}/{name}")
    found = Store(f"{base}/a").names()
    if verb in FILES:
        assert found == ["result"]
        assert Store(f"{base}/a").read("result")
    else:
        assert {"predict": "poses.json", "export": "config.json"}[verb] in found
        assert not [name for name in found if name.startswith(".")]
    assert {path.name for path in tmp_path.iterdir()} == ({"new"} if where == "local" else set())


def bad_places(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir(exist_ok=True)
    return {
        "file": [tmp_path / "folder", f"{tmp_path}/new/", tmp_path / "file/below", tmp_path / ("n" * 300)],
        "folder": [tmp_path / "file", tmp_path / "file/below", tmp_path / ("n" * 300)],
        "both": ["/proc/nothing/result", " ", "gs://bucket/result", "s3://a:b@bucket/result", "s3://no/result"],
    }


@pytest.mark.parametrize("verb", [*FILES, *FOLDERS])
def test_a_place_that_cannot_be_written_is_refused_before_anything_else_is_looked_at(verb, tmp_path, refused, snapshot):
    bad = bad_places(tmp_path)
    before = snapshot(tmp_path)
    option, places = (FILES[verb], bad["file"]) if verb in FILES else (FOLDERS[verb], bad["folder"])
    for place in [*places, *bad["both"]]:
        said = refused(COMMANDS[verb], "no-run", *(["input"] if verb == "predict" else []), option, place)
        assert "no-run" not in said
        assert "a:b@" not in said
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("verb", [*FILES, *FOLDERS])
def test_a_bucket_that_is_not_there_and_a_full_disk_are_refused_too(
    verb, tmp_path, refused, object_store, monkeypatch, snapshot
):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    option = FILES.get(verb) or FOLDERS[verb]
    start = ["no-run", *(["input"] if verb == "predict" else []), option]
    assert "s3://no-such-bucket" in refused(COMMANDS[verb], *start, "s3://no-such-bucket/result")
    monkeypatch.setattr(os, "fsync", full)
    assert str(tmp_path / "new/result") in refused(COMMANDS[verb], *start, tmp_path / "new/result")
    assert snapshot(tmp_path) == {}


def test_results_are_printed_even_if_the_file_cannot_be_written_at_the_end(run, capsys):
    with pytest.raises(SystemExit) as ended:
        run_command(evaluate.command, [str(run), "--json", "/dev/full"])
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert "torso_aligned_mm" in said.out
    assert said.err.startswith("error: /dev/full: ")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("kind", ["full", "killed"])
def test_what_was_there_stays_until_all_of_the_new_is_there(kind, tmp_path, monkeypatch, snapshot):
    (tmp_path / "result").write_text("old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/result").write_text("old")
    before = snapshot(tmp_path)

    def fails(*_):
        raise OSError(errno.ENOSPC, "full") if kind == "full" else KeyboardInterrupt

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(UserError if kind == "full" else KeyboardInterrupt):
        OutputFile(tmp_path / "result").write(b"new")
    for folder in ("folder", "other"):
        with (
            pytest.raises(UserError if kind == "full" else KeyboardInterrupt),
            OutputFolder(tmp_path / folder).filling() as filled,
        ):
            (filled / "result").write_text("new")
    assert snapshot(tmp_path) == before
    assert not (tmp_path / "other").exists()


def test_a_link_and_a_pipe_stay_what_they_are(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "result")
    OutputFile(tmp_path / "link").write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "result").read_bytes() == b"new"
    read, write = os.pipe()
    OutputFile(f"/dev/fd/{write}").check()
    OutputFile(f"/dev/fd/{write}").write(b"new")
    assert os.read(read, 9) == b"new"
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("place", ["folder", "file/below.png", "clouds.doc", "clouds", "s3://bucket/clouds.png"])
def test_a_picture_of_clouds_is_refused_before_they_are_registered(place, tmp_path, monkeypatch, capsys, snapshot):
    monkeypatch.chdir(tmp_path)
    bad_places(tmp_path)
    before = snapshot(tmp_path)
    assert register(["--picture", place]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert said.err.count("\n") == 1
    assert snapshot(tmp_path) == before
