"""How far DeepSpeed engines are from the plain PyTorch engine on the full batch: case x ZeRO stage x workers.

``python -m tests.ray_jobs.worker.engine_matrix [full]`` prints the table, for narrow networks or at full width. Beside
the engines stands plain PyTorch whose first weights are one rounding error off: no engine that adds up in another order
can be nearer than that.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from aign.training.engine import EngineState
from ray_jobs.runs.checkpoints import read_checkpoint
from tests.ray_jobs.worker.engine_worker import CASES, CHANGES, CONTINUED, PLAIN, ROUNDED, STEPS, ZERO_STAGES, cases

ROOT = Path(__file__).parents[3]
WEIGHTS, MOMENTS, BUFFERS = ("param", "ema"), ("exp_avg", "exp_avg_sq"), ("buffer",)
NUM_WORKERS = tuple(ZERO_STAGES)


@dataclass
class Result:
    """What one arm of the comparison came to."""

    folder: Path

    @cached_property
    def engines(self) -> dict[str, EngineState]:
        return read_checkpoint(self.folder).engines

    @cached_property
    def about(self) -> dict:
        return json.loads((self.folder / "state.json").read_text())

    def distance(self, other: "Result", kinds: tuple[str, ...]) -> float:
        """Euclidean distance of all tensors of some kinds, relative to the other's length."""
        keys = [(name, k) for name, state in other.engines.items() for k in state.tensors if k.split("/")[0] in kinds]
        a, b = (torch.cat([r.engines[n].tensors[k].double().flatten() for n, k in keys]) for r in (self, other))
        return ((a - b).norm() / b.norm()).item()

    def loss_gap(self, other: "Result") -> float:
        """Largest difference of a loss term at any step."""
        own = self.about["losses"]
        steps = zip(own, other.about["losses"][-len(own) :], strict=True)
        return max(abs(a - b) for pair in steps for a, b in zip(*pair, strict=True))

    def infers_like(self, other: "Result") -> bool:
        """Whether the averaged generators infer the same, beside rounding."""
        pairs = zip(self.about["averaged"], other.about["averaged"], strict=True)
        return all(torch.allclose(torch.tensor(a), torch.tensor(b), rtol=1e-3, atol=1e-3) for a, b in pairs)

    def decides_like(self, other: "Result") -> bool:
        own = self.about["decisions"]
        return own == other.about["decisions"][-len(own) :]


def train_all(folder: Path, size: str) -> None:
    """Train every arm, the numbers of workers one after the other."""
    for num in NUM_WORKERS:
        own = folder / str(num)
        own.mkdir()
        command = [sys.executable, "-m", "tests.ray_jobs.worker.engine_worker"]
        processes = [
            subprocess.Popen(
                [*command, str(rank), str(num), str(own), size],
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(num)
        ]
        said = [process.communicate(timeout=1200)[0] for process in processes]
        failed = [text for process, text in zip(processes, said, strict=True) if process.returncode]
        assert not failed, "\n".join(failed)


def result(folder: Path, num_workers: int, case: str, label: str) -> Result:
    return Result(folder / str(num_workers) / case / label)


def labels(num_workers: int, case: str) -> list[str]:
    changes = CHANGES[num_workers] if case == CONTINUED else []
    return [f"stage {stage}" for stage in ZERO_STAGES[num_workers]] + [f"stage {a} to {b}" for a, b in changes]


def table(folder: Path, size: str) -> Table:
    """Distances of all arms from the plain engine in one process."""
    shown = Table(title=f"{STEPS[size]} alternating steps, against plain PyTorch in one process on the full batch")
    for column in ("case", "workers", "ZeRO", "weights", "moments", "buffers", "losses", "decisions"):
        shown.add_column(column, justify="left" if column == "case" else "right")
    for case in CASES:
        plain = result(folder, 1, case, PLAIN)
        arms = [(1, ROUNDED)] + [(n, label) for n in NUM_WORKERS if case in cases(n) for label in labels(n, case)]
        for num, label in arms:
            arm = result(folder, num, case, label)
            distances = [arm.distance(plain, kinds) for kinds in (WEIGHTS, MOMENTS, BUFFERS)]
            numbers = [f"{x:.1e}" for x in (*distances, arm.loss_gap(plain))]
            same = "same" if arm.decides_like(plain) else "DIFFERENT"
            shown.add_row(case, str(num), label.removeprefix("stage "), *numbers, same)
    return shown


if __name__ == "__main__":
    size = sys.argv[1] if len(sys.argv) > 1 else "small"
    with tempfile.TemporaryDirectory() as scratch:
        train_all(Path(scratch), size)
        Console(width=120).print(table(Path(scratch), size))
