"""What travels to the cluster: the code of this project and, out of sight, variables of this environment."""

import json
import os
import secrets
import shutil
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from aign.errors import UserError
from ray_jobs.submissions.driver import ENVIRONMENT_FILE

PACKAGES = ("aign", "ray_jobs")
LEFT_BEHIND = ("__pycache__", "*.png")
"""Bytecode of this machine, and the README's pictures."""


def pack(folder: Path, *, code: bool, variables: Sequence[str]) -> None:
    """Fill a folder that becomes the job's working directory.

    Passed variables are a file in it that only its owner may read. They stand neither in the job's description nor in
    logs; the salt keeps its name, a hash of all contents, from telling anything of them.
    """
    if code:
        for name in PACKAGES:
            source = import_module(name).__path__[0]
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    if variables:
        passed = {"salt": secrets.token_hex(16), "variables": read_variables(variables)}
        with open(os.open(folder / ENVIRONMENT_FILE, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            json.dump(passed, file)


def read_variables(names: Sequence[str]) -> dict[str, str]:
    """Variables of this environment. Raises UserError for one that is not set or not to be passed."""
    for name in names:
        if name.startswith("RAY_"):
            raise UserError(f"--pass-env {name}", "Ray's variables are the cluster's own", "leave it out")
        if name not in os.environ:
            raise UserError(f"--pass-env {name}", "is not set here", "set it, or leave it out")
    return {name: os.environ[name] for name in names}
