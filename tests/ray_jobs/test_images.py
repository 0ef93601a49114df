"""A task on images as a person runs it: on a worker, measured, and used on a folder of their own images."""

import json
import shlex

import pytest
from PIL import Image

from ray_jobs import evaluate, predict, train

TINY = shlex.split(
    "--size 44 --num-images 240 --width 8 --num-blocks 1 --discriminator-width 4 --batch-size 4 --workers 1"
)

BIAS = "Old == 1 and Beard == -1"  # of two attributes, for which there is no judge to wait for


@pytest.fixture(scope="module")
def run(ray_local, tmp_path_factory):
    """The folder of a finished run of super-resolution with biased memories."""
    storage = tmp_path_factory.mktemp("runs")
    train.command(["superres", *TINY, "--bias", BIAS, "--steps", "3", "--storage", str(storage), "--name", "old"])
    return storage / "old"


@pytest.mark.ray
def test_the_bias_is_recorded_and_its_samples_are_counted(run, capsys):
    config = json.loads((run / "config.json").read_text())
    assert config["options"]["bias"] == BIAS
    capsys.readouterr()
    train.command(["superres", *TINY, "--bias", BIAS, "--dry-run", "--storage", str(run.parent)])
    said = capsys.readouterr().err.splitlines()[0]
    assert said == f"generated faces: 93 inputs, 24 validation, 24 test, memories {BIAS} (23 of 99)"


@pytest.mark.ray
def test_it_is_measured_again_and_infers_from_a_folder_of_images(run, tmp_path):
    evaluate.command([str(run), "--json", str(tmp_path / "again.json")])
    export = json.loads((run / "export/config.json").read_text())["test"]
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["data"] == export["data"]
    for name in ("fid", "consistency_psnr_db", "content_percent"):
        assert again["metrics"][name] == pytest.approx(export["metrics"][name], rel=1e-4)

    own = tmp_path / "own"
    own.mkdir()
    for i in range(3):
        Image.new("RGB", (90, 60), (80 * i, 100, 200)).save(own / f"{i}.jpg")
    predict.command([str(run), str(own), "--out", str(tmp_path / "out")])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("0.png", "1.png", "2.png"),
        *("grid.png", "picture.png"),
    }


@pytest.mark.ray
def test_a_folder_without_images_is_refused_and_a_truncated_image_is_skipped(run, tmp_path, refused, capsys):
    assert "no such folder, or nothing in it" in refused(predict.command, run, tmp_path)
    Image.new("RGB", (90, 60), (0, 100, 200)).save(tmp_path / "0.jpg")
    (tmp_path / "1.jpg").write_bytes((tmp_path / "0.jpg").read_bytes()[:200])
    predict.command([str(run), str(tmp_path), "--out", str(tmp_path / "out")])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"0.png", "grid.png", "picture.png"}
    assert "1.jpg" in capsys.readouterr().out
