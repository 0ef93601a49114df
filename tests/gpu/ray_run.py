"""A run of one Ray Train worker that has the GPU."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.gpu.parts import Check, Place, Verdict
from tests.gpu.table import ROOT


def ray_run(place: Place) -> Iterator[Check]:
    yield f"a run of one worker on {place.device.type}", partial(_run, place)


def _run(place: Place) -> Verdict:
    if importlib.util.find_spec("ray") is None:
        return None, "Ray is not installed here"
    with tempfile.TemporaryDirectory() as storage:
        command = [sys.executable, "-m", "ray_jobs.train", "pose", "--workers", "1", "--device", place.device.type]
        options = ["--steps", "20", "--width", "32", "--evaluate-every", "20", "--storage", storage, "--name", "run"]
        ended = subprocess.run([*command, *options], cwd=ROOT, stdout=sys.stderr, check=False)
        attempt = json.loads(Path(storage, "run", "attempts", "001.json").read_text())
        has_export = Path(storage, "run", "export", "generator.safetensors").is_file()
    about = f"status {ended.returncode}, {attempt['status']}, on {attempt['device']}"
    return not ended.returncode and has_export and attempt["device"] == place.device.type, about
