"""The library trains where only its own dependencies are installed, as after ``pip install .`` without extras."""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
TRAIN = """
import sys

class Hiding:
    def __init__(self, finder): self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)
    def __getattr__(self, name): return getattr(self.finder, name)

HIDDEN = set(sys.argv[1:])
sys.meta_path = [Hiding(finder) for finder in sys.meta_path]
import aign
print(aign.train("pose", steps=2, width=16, batch_size=16, evaluate_every=2, quiet=True).progress.step)
"""


def test_it_trains_without_what_only_jobs_need():
    found = _installed()
    library = _with_dependencies(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    hidden = {name for name, owners in found.items() if library.isdisjoint(map(canonicalize_name, owners))}
    hidden = hidden - {"aign", *sys.stdlib_module_names} | {"ray_jobs"}
    assert {"ray", "deepspeed", "s3fs", "tyro", "rich", "onnx"} <= hidden
    command = [sys.executable, "-c", TRAIN, *hidden]
    trained = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert trained.stdout.split() == ["2"], trained.stderr


def _installed() -> dict[str, list[str]]:
    """Each importable name and the packages that bring it, as a new interpreter sees them.

    This one may have imported setuptools, which puts copies of other packages, its own, on ``sys.path``.
    """
    code = "import json; from importlib.metadata import packages_distributions as p; print(json.dumps(p()))"
    asked = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(asked.stdout)


def _with_dependencies(stated: list[str]) -> set[str]:
    """The names of packages and of all that they need, without extras."""
    names: set[str] = set()
    waiting = [Requirement(text) for text in stated]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in names or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        try:
            waiting += map(Requirement, requires(name) or [])
        except PackageNotFoundError:  # a part of CUDA that a build for CPUs leaves out
            continue
        names.add(name)
    return names
