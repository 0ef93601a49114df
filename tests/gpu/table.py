"""The table of ``make gpu``: its rows, and the Markdown file that keeps it with what it was measured on."""

import importlib.metadata
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
PACKAGES = ("torch", "deepspeed", "ray")


@dataclass(frozen=True)
class Row:
    """One thing that was compared or measured."""

    part: str
    compared: str
    passed: bool | None
    """None for what cannot fail: a speed, or what is not installed."""
    figure: str

    @property
    def result(self) -> str:
        return {True: "passed", False: "FAILED", None: "-"}[self.passed]


def as_markdown(rows: Sequence[Row], device: torch.device, seconds: float) -> str:
    """The table under a head that says where it was made."""
    about = {
        "device": _device_name(device),
        **(
            {"driver": _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")}
            if _is_gpu(device)
            else {}
        ),
        **{package: _version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "commit": _said("git", "describe", "--always", "--dirty", "--exclude=*"),
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
        "seconds": f"{seconds:.0f}",
        "command": " ".join(["python -m tests.gpu", *sys.argv[1:]]),
    }
    head = [f"- {name}: {value}" for name, value in about.items()]
    lines = [f"| {row.part} | {row.compared} | {row.result} | {row.figure} |" for row in rows]
    table = ["| part | what was compared | result | figure |", "| --- | --- | --- | --- |", *lines]
    return "\n".join(["# What was seen on one device", "", *head, "", *table, ""])


def _is_gpu(device: torch.device) -> bool:
    return device.type == "cuda"


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if _is_gpu(device) else f"CPU ({platform.machine()})"


def _version(package: str) -> str:
    if package == "torch":
        return f"{torch.__version__} (CUDA {torch.version.cuda})"
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _said(*command: str) -> str:
    """What a program says; a GPU host may have neither git nor a repository."""
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
