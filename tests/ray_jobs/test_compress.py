"""A run's network made thinner, as a person does it, and what is made of it afterwards."""

import csv
import io
import json
import shlex

import pytest
from PIL import Image

import aign
from ray_jobs import compress, evaluate, export, predict, sensitivity, sweep, train
from ray_jobs.cli.compress_options import parse_compression
from ray_jobs.launch.start import launch
from ray_jobs.runs.compression_rounds import parts_before

TINY = shlex.split(
    "--num-images 200 --num-validation 100 --num-test 100 --width 4 --num-blocks 1 --batch-size 16 --steps 6 "
    "--workers 0"
)
THINNER = shlex.split("--flops 0.5 --steps 10 --workers 0 --log-every 2")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a finished run."""
    storage = tmp_path_factory.mktemp("runs")
    train.command(["digits", *TINY, "--storage", str(storage), "--name", "whole"])
    return storage / "whole"


@pytest.fixture(scope="module")
def thin(run):
    """Of the same run, compressed."""
    compress.command([str(run), *THINNER, "--storage", str(run.parent), "--name", "thin"])
    return run.parent / "thin"


def metrics_of(run):
    return json.loads((run / "export/config.json").read_text())["test"]["metrics"]


def test_it_is_a_run_with_parts_and_says_what_is_left(run, thin, capsys):
    assert 30 < metrics_of(thin)["macs_percent"] <= 50
    part = json.loads((thin / "projection/1/config.json").read_text())
    assert part["training"]["steps"] == 3
    assert part["compression"]["part"] == "projection"
    config = json.loads((thin / "config.json").read_text())
    assert config["training"]["steps"] == 7
    assert config["compression"]["source"] == f"{run}@6"
    capsys.readouterr()
    compress.command([str(run), *THINNER, "--storage", str(run.parent), "--name", "thin"])  # nothing is left to do
    said = capsys.readouterr().out
    assert "macs_percent" in said
    assert "step" not in said
    assert "what it gives is added to something else" in said


def test_a_dry_run_says_what_all_its_parts_would_cost(run, thin, tmp_path, capsys):
    def cost(*argv):
        capsys.readouterr()
        compress.command([str(run), *THINNER, "--storage", str(tmp_path), *argv, "--dry-run"])
        return capsys.readouterr().out.splitlines()[-1]

    assert cost("--name", "all").startswith("cost: not known")
    assert cost("--steps", "100", "--name", "all", "--like", str(thin)).startswith("cost: about ")


def test_all_that_is_done_with_a_run_is_done_with_it(thin, tmp_path):
    evaluate.command([str(thin), "--json", str(tmp_path / "again.json")])
    again = json.loads((tmp_path / "again.json").read_text())["metrics"]
    for name in ("error_percent", "cross_entropy"):
        assert again[name] == pytest.approx(metrics_of(thin)[name], rel=1e-4)
    own = tmp_path / "own"
    own.mkdir()
    Image.new("L", (40, 40), 30).save(own / "0.png")
    predict.command([str(thin), str(own), "--out", str(tmp_path / "out")])
    assert (tmp_path / "out/predictions.csv").exists()
    export.command([str(thin), "--out", str(tmp_path / "exported")])
    network = aign.load(tmp_path / "exported").task.model.generator
    assert network.blocks[0].conv1.out_channels == 2


def test_it_is_compressed_further_from_there(thin):
    argv = [str(thin), "--ranks", "blocks.1.conv1=1", *THINNER[2:], "--storage", str(thin.parent), "--name", "thinner"]
    compress.command(argv)
    network = aign.load(thin.parent / "thinner/export").task.model.generator
    assert network.blocks[0].conv1.out_channels == 2
    assert network.blocks[1].conv1.out_channels == 1


def test_what_is_done_of_it_is_not_done_again(run):
    argv = [str(run), *THINNER, "--storage", str(run.parent), "--name", "interrupted"]
    (part,) = parts_before(parse_compression(argv).job)
    launch(part, lambda event: None)
    compress.command(argv)
    assert len(list((run.parent / "interrupted/projection/1/attempts").iterdir())) == 1
    assert metrics_of(run.parent / "interrupted")["error_percent"] <= 100


@pytest.mark.parametrize("method", ["projection", "projection-only"])
def test_every_round_has_a_step(run, method):
    few = [
        str(run),
        "--flops",
        "0.5",
        "--steps",
        "3",
        "--rounds",
        "2",
        "--method",
        method,
        "--storage",
        str(run.parent),
    ]
    job = parse_compression(few).job
    assert sum(part.run.training.steps for part in [*parts_before(job), job]) == 3


@pytest.mark.parametrize("method", ["projection-only", "random", "factorisation", "scratch"])
def test_what_it_is_compared_with(run, method, tmp_path):
    argv = [str(run), *THINNER, "--method", method, "--storage", str(run.parent), "--name", method]
    compress.command(argv)
    measured = metrics_of(run.parent / method)
    assert measured["macs_percent"] <= 50
    evaluate.command([str(run.parent / method), "--json", str(tmp_path / "again.json")])
    again = json.loads((tmp_path / "again.json").read_text())["metrics"]
    assert again["cross_entropy"] == pytest.approx(measured["cross_entropy"], rel=1e-4)


def test_curves_of_single_layers(run):
    sensitivity.command([str(run)])
    known = json.loads((run / "sensitivity/curves.json").read_text())
    assert {point["layer"] for point in known["points"]} == {f"blocks.{i}.conv1" for i in range(3)}
    assert all(point["error"] >= 0 and point["error_percent"] <= 100 for point in known["points"])
    assert Image.open(run / "sensitivity/curves.png").size[0] > 400


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "no size: one of three is needed"),
        ("--flops 0.5 --latency 0.5", "--flops and --latency: one of three is needed"),
        ("--flops 1.5", "flops = 1.5: "),
        ("--flops 0.0001", "the least that can be reached is"),
        ("--ranks head=0.5", "cannot be projected: what it gives is what the network gives"),
        ("--flops 0.5 --zero-stage 3 --workers 1", "compression with zero_stage = 3"),
        ("--flops 0.5 --gama 1", "--gama: unknown option"),
        ("--flops 0.5 --steps 1", "--steps 1"),
    ],
)
def test_what_cannot_be(run, refused, options, said):
    assert said in refused(compress.command, run, *shlex.split(options), "--storage", run.parent)


def test_what_is_no_run_or_cannot_be_made_thinner(run, refused, tmp_path):
    assert "has no checkpoint" in refused(compress.command, tmp_path / "none", "--flops", "0.5")
    assert "has checkpoints of steps 6" in refused(compress.command, f"{run}@7", "--flops", "0.5")
    train.command(shlex.split(f"pose --steps 2 --width 16 --workers 0 --storage {tmp_path} --name pose"))
    assert "what stem gives is read by 'layer_norm'" in refused(compress.command, tmp_path / "pose", "--flops", "0.5")


@pytest.mark.ray
def test_two_workers_come_to_the_same(run, thin, ray_local):
    argv = [str(run), *THINNER, "--workers", "2", "--zero-stage", "2", "--storage", str(run.parent), "--name", "two"]
    compress.command(argv)
    for name in ("cross_entropy", "macs_percent"):
        assert metrics_of(run.parent / "two")[name] == pytest.approx(metrics_of(thin)[name], rel=1e-3)


@pytest.mark.ray
def test_ranks_are_searched_for_what_is_best_at_each_cost(run, ray_local, capsys, monkeypatch):
    monkeypatch.chdir(run.parent)  # trials stand in other folders
    argv = ["compress", run.name, *THINNER[2:], "--storage", str(run.parent), "--name", "ranks"]
    space = "ranks=blocks.0.conv1={0.2:1},blocks.[12].conv1={0.2:1}"
    sweep.command([*argv, "--space", space, "--search", "optuna", "--cost", "macs_percent", "--trials", "3"])
    said = capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO((run.parent / "ranks/trials.csv").read_text())))
    assert [row["status"] for row in rows] == ["finished"] * 3
    costs = [float(row["metric/macs_percent"]) for row in rows]
    assert costs[0] <= 60  # the search begins with ranks for so much
    assert len(set(costs)) == 3
    assert "best at macs_percent" in said
    again = next(line for line in said.splitlines() if line.startswith("again: "))
    assert again.startswith(f"again: aign compress {run}")
    page = (run.parent / "ranks/report.html").read_text()
    assert "<h2>best at each macs_percent</h2>" in page
    assert (run.parent / "ranks/report/front.png").exists()
