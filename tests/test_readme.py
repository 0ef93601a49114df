"""Every command of the README, run in its order with few steps."""

import json
import re
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from aign.data.h36m import SKELETON
from ray_jobs.console import main
from ray_jobs.options import parse
from tests.ray_jobs.submissions.fake_cluster import FakeCluster

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.M | re.S)
LINES = [line for _, block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
SUBMISSIONS = [line for line in LINES if line.startswith(("aign submit ", "aign jobs "))]
COMMANDS = [line for line in LINES if line.startswith("aign ") and line not in SUBMISSIONS]
PYTHON = [block for language, block in BLOCKS if language == "python"]
SHORT = shlex.split("--steps 4 --evaluate-every 4 --checkpoint-every 4")
FACES = shlex.split("--size 44 --num-images 400 --width 8 --discriminator-width 4 --batch-size 4")
SMALL = {
    "pose": shlex.split("--width 16 --num-blocks 1 --batch-size 16"),
    "superres": FACES,
    "inpaint": FACES,
    "vae": shlex.split("--size 20 --num-images 40 --width 4 --batch-size 8"),
    "digits": shlex.split("--num-images 40 --width 4 --num-blocks 1 --batch-size 8"),
}


def small(command: str, bucket: str) -> list[str]:
    """Its words with few steps, one seed, small networks, a store that is there, and Ray only for more workers."""
    if not command.startswith("aign compare"):  # which runs two at a time
        command = re.sub(r"--workers 1(?!:)", "--workers 0", command)  # Ray Train's part is in those with more
    words = shlex.split(command.replace("s3://bucket", bucket).replace("--seeds 0 1 2", "--seeds 0"))
    if words[1] == "sweep":
        words += ["--trials", "2", "--workers", "0"]
    if words[1] in ("train", "compare", "sweep", "compress"):
        if "--steps" in words:
            at = words.index("--steps")
            del words[at : at + 2]
        compresses = "compress" in words[1:3]  # the network of a run that is small already
        words += SHORT + ([] if compresses else SMALL[words[2]])
    return words


@pytest.mark.ray
def test_commands_run_as_they_stand(tmp_path, monkeypatch, object_store, ray_local):
    monkeypatch.chdir(tmp_path)
    keypoints = [[[10.0 * j, 5.0 * j + 1] for j in range(SKELETON.num_joints)]]
    Path("keypoints.json").write_text(json.dumps({"keypoints": keypoints}))
    Path("photos").mkdir()
    for i in range(3):
        Image.new("RGB", (80, 60), (80 * i, 100, 200)).save(f"photos/{i}.jpg")
    assert len(COMMANDS) >= 6
    for command in COMMANDS:
        monkeypatch.setattr("sys.argv", small(command, object_store.bucket))
        main()  # a failure is a SystemExit
    assert Path("first.json").exists()
    assert Path("compare.json").exists()
    assert Path("predictions/picture.png").exists()
    assert Path("imagined/grid.png").exists()
    assert "where their options differ" in Path("runs.html").read_text()


def test_submissions_are_understood(monkeypatch):
    """As far as that goes without a cluster: a test of their own submits."""
    cluster = FakeCluster()
    cluster.use(monkeypatch)
    assert {shlex.split(command)[1] for command in SUBMISSIONS} == {"submit", "jobs"}
    for command in SUBMISSIONS:
        monkeypatch.setattr("sys.argv", shlex.split(command))
        main()
    assert "first-2" in {job.submission_id for job in cluster.jobs}


def test_python_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in PYTHON:
        exec(block.replace("steps=500", "steps=4, width=16, batch_size=16, quiet=True"), {})
    assert Path("pose.png").exists()


def test_the_demo_is_a_valid_training_command():
    make = ["make", "--no-print-directory", "-n", "demo"]
    printed = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    words = shlex.split(printed.strip().splitlines()[-1])
    assert words[0].endswith("aign")
    assert words[1] == "train"
    job = parse(words[2:]).job
    assert job.run.preset == "aign"
    assert str(job.placement.workers) == "2"


def test_what_make_is_said_to_do_it_can():
    """What takes long is looked at, not run: the tests of each run a part of it."""
    text = (ROOT / "README.md").read_text()
    targets = sorted(set(re.findall(r"`make ([\w-]+)`", text)))
    assert {"test", "faults", "soak", "fuzz"} <= set(targets)
    make = ["make", "--no-print-directory", "-n", *targets]
    printed = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    modules = re.findall(r"-m (tests\S+)", printed) + re.findall(r"`python -m (tests[\w.]+)", text)
    assert len(modules) >= 5
    for module in modules:
        assert find_spec(module), module
