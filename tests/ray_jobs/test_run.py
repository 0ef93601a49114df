"""Whole jobs as a person runs them: trained on a real local Ray, killed, resumed, measured, used, compared, stored."""

import json
import os
import subprocess
import sys
import threading
import uuid

import psutil
import pytest
import torch

import aign
from aign.data.keypoint_files import read_keypoints
from aign.storage.store import Store
from ray_jobs import compare, evaluate, predict, train
from ray_jobs.cli.options import parse
from ray_jobs.launch.signals import StopSignal
from ray_jobs.launch.start import launch, start_ray
from ray_jobs.runs.checkpoints import checkpoint_steps
from ray_jobs.worker.events import CheckpointSaved

PLAIN = ("--workers", "0")
LOGGED_STEPS = [2, 4, 6, 8, 10, 12]
TIMES = ("time", "samples_per_second", "data_wait_share")


def call(command, *argv):
    command([str(word) for word in argv])


def logged_steps(lines):
    return [line["step"] for line in lines if "stage" in line]


@pytest.fixture(scope="session")
def finished(tiny_argv, tmp_path_factory):
    """The folder of a finished run of one process."""
    storage = tmp_path_factory.mktemp("runs")
    call(train.command, "pose", *tiny_argv, *PLAIN, "--storage", storage, "--name", "plain")
    return storage / "plain"


# --- training --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def finished_by_two(ray_local, tiny_argv, tmp_path_factory):
    """The folder of a finished run of two Ray Train workers at ZeRO stage 2."""
    storage = tmp_path_factory.mktemp("runs")
    call(train.command, "pose", *tiny_argv, "--zero-stage", "2", "--storage", storage, "--name", "two")
    return storage / "two"


@pytest.mark.ray
def test_two_workers_write_the_run_folder(finished_by_two, metrics):
    run = finished_by_two
    assert json.loads((run / "config.json").read_text())["placement"]["zero_stage"] == 2
    lines = metrics(run)
    steps = logged_steps(lines)
    assert steps == sorted(set(steps))
    assert set(LOGGED_STEPS) <= set(steps)
    measured = [(line["step"], line["evaluation"]["split"]) for line in lines if "evaluation" in line]
    assert measured == [(6, "validation"), (12, "validation"), (12, "test")]
    assert {path.name for path in (run / "pictures").iterdir()} == {"step_0000006.png", "step_0000012.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (run / "pictures").iterdir())
    assert checkpoint_steps(Store(run)) == [12, 8]
    assert {path.name for path in (run / "export").iterdir()} == {"config.json", "generator.safetensors", "README.md"}
    (attempt,) = [json.loads(path.read_text()) for path in (run / "attempts").iterdir()]
    assert attempt["began"] < lines[0]["time"] < lines[-1]["time"] < attempt["ended"]
    assert (attempt["workers"], attempt["device"], attempt["zero_stage"]) == (2, "cpu", 2)
    assert (attempt["start_step"], len(attempt["processes"])) == (0, 2)


@pytest.mark.ray
def test_two_workers_measure_what_one_process_does(finished_by_two, finished, metrics):
    for ours, plain in zip(metrics(finished_by_two), metrics(finished), strict=True):
        ours, plain = (line.get("evaluation", {}).get("metrics", line) for line in (ours, plain))
        compared = [name for name, value in plain.items() if name not in TIMES and not isinstance(value, str)]
        assert {name: ours[name] for name in compared} == pytest.approx({n: plain[n] for n in compared}, rel=1e-4)


def test_a_run_says_what_it_measured_and_where(tiny_argv, tmp_path, capsys):
    call(train.command, "pose", *tiny_argv, *PLAIN, "--storage", tmp_path, "--name", "a")
    said = capsys.readouterr().out
    assert "torso_aligned_mm" in said
    assert "mean pose" in said
    assert f"picture: {tmp_path}/a/pictures/step_0000012.png" in said
    assert f"run: {tmp_path}/a" in said


@pytest.mark.ray
def test_a_finished_run_says_so_and_changes_nothing(finished_by_two, tiny_argv, snapshot, capsys):
    before = snapshot(finished_by_two)
    options = ("--zero-stage", "2", "--storage", finished_by_two.parent, "--name", "two")
    call(train.command, "pose", *tiny_argv, *options)
    said = capsys.readouterr().out
    assert "two has finished already, after 12 steps" in said
    assert "torso_aligned_mm" in said
    assert snapshot(finished_by_two) == before


def test_a_run_that_ended_before_its_export_makes_up_for_it(tiny_argv, tmp_path, snapshot):
    options = (*tiny_argv, *PLAIN, "--storage", tmp_path, "--name", "plain")
    call(train.command, "pose", *options)
    run = Store(tmp_path / "plain")
    before = snapshot(tmp_path / "plain" / "export")
    run.remove("export")
    call(train.command, "pose", *options)
    assert snapshot(tmp_path / "plain" / "export") == before


def test_a_run_tells_what_cannot_be_lost_any_more(tiny_argv, tmp_path):
    job = parse(["pose", *tiny_argv, *PLAIN, "--storage", str(tmp_path), "--name", "plain"]).job
    events = []
    launch(job, events.append)
    assert [event.step for event in events if isinstance(event, CheckpointSaved)] == [0, 4, 8, 12]


# --- a worker is killed, or hangs ------------------------------------------------------------------------------------


@pytest.fixture
def once_saved(train_workers):
    """Does something to a worker of a run, from another thread, when the run has its first checkpoint."""
    stop = threading.Event()
    threads = []

    def once_saved(run, act):
        def wait_and_act():
            while not stop.wait(0.005):
                if checkpoint_steps(Store(run)) and (workers := train_workers()):
                    return act(workers[0])

        threads.append(threading.Thread(target=wait_and_act, daemon=True))
        threads[-1].start()

    yield once_saved
    stop.set()
    for thread in threads:
        thread.join()


@pytest.mark.ray
@pytest.mark.parametrize(
    ("act", "options"),
    [
        (psutil.Process.kill, ("--zero-stage", "3", "--r1", "0")),
        (psutil.Process.suspend, ("--collective-timeout-s", "15")),
    ],
    ids=["killed", "hangs"],
)
def test_a_lost_worker_costs_no_step(act, options, ray_local, once_saved, train_workers, tmp_path, metrics, capsys):
    run = tmp_path / "run"
    lost = []
    once_saved(run, lambda worker: (lost.append(worker), act(worker)))
    sizes = ("--width", "32", "--num-blocks", "1", "--batch-size", "16")
    moments = ("--steps", "100", "--log-every", "5", "--checkpoint-every", "10", "--evaluate-every", "100")
    call(train.command, "pose", *sizes, *options, *moments, "--storage", tmp_path, "--name", "run")
    assert len(lost) == 1
    assert not train_workers()
    first, second = (json.loads(path.read_text()) for path in sorted((run / "attempts").iterdir()))
    assert lost[0].pid in [process["pid"] for process in first["processes"]]
    assert f"run goes on from step {second['start_step']}" in capsys.readouterr().out
    assert set(range(5, 101, 5)) <= set(logged_steps(metrics(run)))
    assert checkpoint_steps(Store(run))[0] == 100
    assert json.loads((run / "export" / "config.json").read_text())["progress"]["step"] == 100


# --- measuring and using ---------------------------------------------------------------------------------------------


def test_evaluate_measures_what_training_did(finished, metrics, tmp_path, capsys):
    call(evaluate.command, finished, "--json", tmp_path / "measured.json")
    measured = json.loads((tmp_path / "measured.json").read_text())
    last = [line["evaluation"] for line in metrics(finished) if "evaluation" in line][-1]
    assert measured["step"] == 12
    assert measured["num_samples"] == last["num_samples"]
    assert measured["metrics"] == pytest.approx(last["metrics"], rel=1e-6)
    assert measured["groups"].keys() == last["groups"].keys()
    assert "torso_aligned_mm" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["nothing", "empty"])
def test_evaluate_refuses_what_is_not_a_run(what, tmp_path, refused):
    if what == "empty":
        (tmp_path / "run").mkdir()
    assert "is not a run" in refused(evaluate.command, tmp_path / "run")


@pytest.fixture(scope="session")
def people(finished):
    """Keypoints of three people, px, and the names of their joints."""
    trained = aign.load(finished / "export")
    size = trained.run.options.image_size
    numbers = torch.rand(3, trained.task.model.skeleton.num_joints, 2, generator=torch.Generator().manual_seed(0))
    return (size * numbers).tolist(), trained.task.model.skeleton


def write_json(path, keypoints, skeleton):
    path.write_text(json.dumps({"keypoints": keypoints}))


def write_csv(path, keypoints, skeleton):
    header = [f"{joint}_{axis}" for joint in skeleton.joint_names for axis in "xy"]
    rows = [",".join(str(value) for joint in person for value in joint) for person in keypoints]
    path.write_text("\n".join([",".join(header), *rows]))


@pytest.mark.parametrize(("name", "write"), [("people.json", write_json), ("people.csv", write_csv)])
def test_predict_infers_a_pose_a_person(name, write, finished, people, tmp_path, capsys):
    keypoints, skeleton = people
    write(tmp_path / name, keypoints, skeleton)
    call(predict.command, finished, tmp_path / name, "--out", tmp_path / "out")
    poses = json.loads((tmp_path / "out" / "poses.json").read_text())
    assert tuple(poses["joint_names"]) == skeleton.joint_names
    assert torch.tensor([pose["joints_mm"] for pose in poses["poses"]]).shape == (3, skeleton.num_joints, 3)
    assert (tmp_path / "out" / "picture.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "inferred 3 samples" in said
    assert "poses.json" in said
    assert str(tmp_path / "out") in said


def with_nan(keypoints):
    return [*keypoints[:1], [[float("nan"), 1.0], *keypoints[1][1:]], *keypoints[2:]]


def with_a_joint_less(keypoints):
    return [person[1:] for person in keypoints]


@pytest.mark.parametrize(("name", "write"), [("people.json", write_json), ("people.csv", write_csv)])
def test_who_cannot_be_posed_is_null_among_the_others(name, write, finished, people, tmp_path, capsys):
    keypoints, skeleton = people
    write(tmp_path / name, with_nan(keypoints), skeleton)
    call(predict.command, finished, tmp_path / name, "--out", tmp_path / "out")
    poses = json.loads((tmp_path / "out" / "poses.json").read_text())["poses"]
    assert [pose is None for pose in poses] == [False, True, False]
    assert "person 1" in capsys.readouterr().out


@pytest.mark.parametrize("write", [write_json, write_csv])
@pytest.mark.parametrize("change", [with_a_joint_less, lambda keypoints: []])
def test_predict_refuses_keypoints_that_cannot_be(write, change, finished, people, tmp_path, refused):
    keypoints, skeleton = people
    path = tmp_path / ("a.json" if write is write_json else "a.csv")
    write(path, change(keypoints), skeleton)
    assert str(path) in refused(predict.command, finished, path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "pelvis_x,pelvis_y\n1,2\n"),
        ("a.csv", ""),
        ("a.json", "{not json"),
        ("a.json", '{"points": 3}'),
        ("a.json", "[[[1, 2], [3]]]"),
        ("a.json", b"\x89PNG\r\n\x1a\n\xff\xfe"),
        ("a.csv", b"\x89PNG\r\n\x1a\n\xff\xfe"),
        ("none.json", None),
    ],
)
def test_predict_refuses_what_is_not_keypoints(name, text, finished, tmp_path, refused):
    if text is not None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert str(tmp_path / name) in refused(predict.command, finished, tmp_path / name, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_needs_neither_ray_nor_deepspeed(finished, people, tmp_path):
    keypoints, skeleton = people
    write_json(tmp_path / "people.json", keypoints, skeleton)
    call(predict.command, finished, tmp_path / "people.json", "--out", tmp_path / "out")
    script = """
import json, sys
import aign
from pathlib import Path
trained = aign.load(sys.argv[1])
inferred = trained.infer(trained.task.files.read(Path(sys.argv[2])).sample["observed"])
print(json.dumps(inferred["weights"].tolist()))
assert not {"ray", "deepspeed", "ray_jobs"} & set(sys.modules)
"""
    argv = [sys.executable, "-c", script, str(finished / "export"), str(tmp_path / "people.json")]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    poses = json.loads((tmp_path / "out" / "poses.json").read_text())["poses"]
    torch.testing.assert_close(torch.tensor(json.loads(said)), torch.tensor([pose["weights"] for pose in poses]))


# --- in an object store ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(object_store, tiny_argv):
    """The address of a finished run in an object store."""
    storage = f"{object_store.bucket}/{uuid.uuid4().hex}/runs"
    call(train.command, "pose", *tiny_argv, *PLAIN, "--storage", storage, "--name", "plain")
    return f"{storage}/plain"


def test_a_run_in_an_object_store_is_the_same_run(stored, finished, metrics, tmp_path):
    Store(stored).download("", tmp_path / "run")
    ours, local = (
        {path.relative_to(run) for path in run.rglob("*") if path.is_file()} for run in (tmp_path / "run", finished)
    )
    parts = ("metrics", "tensorboard")  # how many there are goes by the clock
    assert {p for p in ours if p.parts[0] not in parts} == {p for p in local if p.parts[0] not in parts}
    assert {p.parts[0] for p in ours} == {p.parts[0] for p in local}
    for ours, local in zip(metrics(tmp_path / "run"), metrics(finished), strict=True):
        assert ours.get("evaluation") == local.get("evaluation")
    assert aign.load(tmp_path / "run" / "export").progress.step == 12


def test_evaluate_and_predict_read_an_object_store(stored, finished, people, tmp_path):
    call(evaluate.command, stored, "--json", tmp_path / "stored.json")
    call(evaluate.command, finished, "--json", tmp_path / "local.json")
    at_store, local = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("stored", "local"))
    assert at_store["metrics"] == local["metrics"]
    keypoints, skeleton = people
    write_json(tmp_path / "people.json", keypoints, skeleton)
    call(predict.command, stored, tmp_path / "people.json", "--out", tmp_path / "out")
    assert read_keypoints(tmp_path / "people.json", skeleton).numbers == (0, 1, 2)
    assert (tmp_path / "out" / "poses.json").exists()


def test_a_finished_run_in_an_object_store_changes_nothing(stored, tiny_argv, capsys):
    storage = stored.rpartition("/")[0]
    call(train.command, "pose", *tiny_argv, *PLAIN, "--storage", storage, "--name", "plain")
    assert "has finished already" in capsys.readouterr().out
    assert Store(stored).names("attempts") == ["001.json"]


# --- comparing -------------------------------------------------------------------------------------------------------


def test_compare_sets_presets_side_by_side(tiny_argv, tmp_path, capsys, snapshot):
    argv = ("pose", *tiny_argv, *PLAIN, "--storage", tmp_path / "runs", "--name", "all", "--seeds", "0", "1")
    call(compare.command, *argv, "--json", tmp_path / "results.json")
    said = capsys.readouterr().out
    results = json.loads((tmp_path / "results.json").read_text())
    presets = ["forward2dto3d", "3d-interpreter", "aign"]
    assert [(arm["preset"], arm["seed"]) for arm in results] == [
        (preset, seed) for preset in presets for seed in (0, 1)
    ]
    for arm in results:
        assert arm["step"] == 12
        assert arm["metrics"]["torso_aligned_mm"] > 0
    for words in ("2 seeds", "baseline: mean pose", "torso aligned mm", *presets, "(0.613)"):
        assert words in said
    before = snapshot(tmp_path / "runs")
    call(compare.command, *argv, "--json", tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == results
    assert snapshot(tmp_path / "runs") == before


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "a task comes first"),
        (["pose", "--preset", "aign"], "use --presets and --seeds"),
        (["pose", "--presets", "agin"], "did you mean aign?"),
        (["pose", "--widht", "3"], "did you mean --width?"),
        (["pose", "--batch-size", "17"], "use 16"),
    ],
)
def test_compare_refuses_in_one_line(argv, expected, refused):
    assert expected in refused(compare.command, *argv)


@pytest.mark.ray
def test_folders_that_the_environment_names_hold_where_workers_stand(ray_local, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIGN_DATA", "data")
    monkeypatch.setenv("AIGN_CACHE", "s3://bucket/cache")
    start_ray(parse(["pose"]).job, StopSignal())
    assert os.environ["AIGN_DATA"] == str(tmp_path / "data")
    assert os.environ["AIGN_CACHE"] == "s3://bucket/cache"
