"""A run's network as files for other programs."""

import json

import onnxruntime
import pytest
import torch

import aign
from aign.storage.store import Store
from ray_jobs import export, train
from ray_jobs.runs.folder import open_run

FILES = ["README.md", "config.json", "generator.onnx", "generator.safetensors", "onnx.json"]


@pytest.fixture(scope="module")
def run(tiny_argv, tmp_path_factory):
    """The folder of a finished run of one process."""
    storage = tmp_path_factory.mktemp("runs")
    train.command(["pose", *tiny_argv, "--workers", "0", "--storage", str(storage), "--name", "plain"])
    return storage / "plain"


def test_its_files_give_what_the_newest_checkpoint_gives(run, tmp_path, capfd):
    (tmp_path / "generator.onnx").write_text("of an earlier export")
    capfd.readouterr()
    export.command([str(run), "--out", str(tmp_path), "--opset", "19"])
    said = capfd.readouterr()
    assert said.out.startswith(f"step 12: {tmp_path}/README.md, ")
    assert not said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES

    trained = open_run(str(run))
    observed = trained.task.model.example(3, torch.Generator().manual_seed(1))
    expected = trained.infer(observed)
    loaded = aign.load(tmp_path)
    assert loaded.progress.step == 12
    assert all(values.equal(expected[name]) for name, values in loaded.infer(observed).items())

    about = json.loads((tmp_path / "onnx.json").read_text())
    joints = observed["keypoints_px"].shape[1]
    port = {"name": "keypoints_px", "shape": ["batch", joints, 2], "dtype": "float32"}
    assert about["inputs"] == {"keypoints_px": port}
    assert about["opset"] == 19
    assert 0 <= about["largest_difference"] < 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "generator.onnx")
    found = session.run(list(about["outputs"]), {"keypoints_px": observed["keypoints_px"].numpy()})
    for name, values in zip(about["outputs"], found, strict=True):
        torch.testing.assert_close(torch.from_numpy(values), expected[name], rtol=1e-4, atol=1e-3)


def test_they_can_go_to_a_store(run, tmp_path, object_store):
    out = f"{object_store.bucket}/{tmp_path.name}/exported"
    export.command([str(run), "--out", out])
    assert Store(out).names() == FILES


def test_an_export_is_no_run(run, tmp_path, refused):
    export.command([str(run), "--out", str(tmp_path / "exported")])
    assert "is an export" in refused(export.command, tmp_path / "exported", "--out", tmp_path / "again")
    assert "is a part of a run" in refused(export.command, run / "export", "--out", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_what_is_no_run_and_what_is_no_folder_are_one_line(run, tmp_path, refused):
    assert "is not a run" in refused(export.command, tmp_path / "nothing")
    assert "opset = 17" in refused(export.command, run, "--out", tmp_path / "new", "--opset", "17")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    assert "is a file, not a folder" in refused(export.command, run, "--out", tmp_path / "file")
    assert (tmp_path / "file").read_text() == ""
