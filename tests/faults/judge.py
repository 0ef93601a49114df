"""What a fault cost a run, and whether that is allowed."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from tests.faults import analysis
from tests.faults.drills import Drill
from tests.faults.run import CHECKPOINT_EVERY, STEPS, Run

_LARGEST_DISTANCE = 0.05  # of a run that other numbers of workers have rounded differently for a while


@dataclass(frozen=True, kw_only=True)
class Final:
    """What a finished run left: its metrics, and the weights and optimizer tensors of its end."""

    lines: list[dict]
    exported: dict[str, Tensor]
    tensors: dict[str, Tensor]  # of the last checkpoint, by player and name

    def distance(self, other: "Final") -> float:
        """0 if all bits of both are equal, else how far they are from the other's, as a share."""
        return max(analysis.distance(self.exported, other.exported), analysis.distance(self.tensors, other.tensors))


@dataclass(kw_only=True)
class Verdict:
    """A line of the table."""

    name: str
    lost: str = ""
    seconds: str = ""
    weights: str = ""
    metrics: str = ""
    checkpoints: str = ""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: bool = False

    @property
    def passed(self) -> bool:
        return not self.problems and not self.skipped

    @property
    def costs(self) -> str:
        """In a few words."""
        lost = f"{self.lost} steps lost, " if self.lost else ""
        again = f"training again after {self.seconds} s, " if self.seconds else ""
        return f"({lost}{again}{self.weights})" if self.weights else ""


def final(run: Run, steps: int = STEPS) -> Final | None:
    """What a run of so many steps left at its end; None if it has none."""
    checkpoint = run.read(steps)
    if checkpoint is None or not run.store.exists("export/config.json"):
        return None
    with tempfile.TemporaryDirectory(prefix="aign-faults-") as folder:
        run.store.download("export", Path(folder))
        exported = load_file(Path(folder) / "generator.safetensors")
    tensors = {
        f"{player}/{name}": tensor
        for player, state in checkpoint.engines.items()
        for name, tensor in state.tensors.items()
    }
    return Final(lines=run.lines(), exported=exported, tensors=tensors)


def judge(drill: Drill, run: Run, reference: Final | None) -> tuple[Verdict, Final | None]:
    """The costs of the drill that ``run`` went through; a cost that is not allowed is a problem."""
    verdict = Verdict(name=drill.name, problems=run.problems, notes=run.notes)
    left = final(run)
    if left is None:
        verdict.problems.append("the run is not complete in the store")
    lines = left.lines if left else run.lines()
    if run.fault_time is not None:
        _judge_time(verdict, drill, run, lines)
        _judge_checkpoints(verdict, run)
    if reference and drill.same_metrics:
        _judge_metrics(verdict, drill, lines, reference)
    if reference and left:
        _judge_weights(verdict, drill, left, reference)
    return verdict, left


def _judge_time(verdict: Verdict, drill: Drill, run: Run, lines: list[dict]) -> None:
    assert run.fault_time is not None
    again = analysis.first_after(lines, run.fault_time)
    if again is None:
        verdict.problems.append("training did not go on")
        return
    verdict.seconds = f"{again['time'] - run.fault_time:.1f}"
    farthest = analysis.farthest_step(lines, run.committed_before, run.fault_time)
    if again["attempt"] == max((line["attempt"] for line in lines if line["time"] <= run.fault_time), default=1):
        verdict.lost = "0"
        return
    resumed = analysis.resumed_step(lines, again)
    estimated = analysis.estimated_step(lines, run.fault_time, CHECKPOINT_EVERY)
    verdict.lost = f"~{max(0, farthest - resumed, estimated - resumed)}"
    if farthest - resumed > drill.most_lost:
        verdict.problems.append(f"had come to step {farthest} and went on from {resumed}")
    whole = [step for step in run.committed_before if step not in run.damaged]
    if resumed < max(whole, default=0):
        verdict.problems.append(f"checkpoint {max(whole)} was committed, but it went on from {resumed}")


def _judge_checkpoints(verdict: Verdict, run: Run) -> None:
    readable = [step for step in run.committed() if run.read(step)]
    lost = analysis.lost_checkpoints(run.committed_before, readable)
    verdict.checkpoints = f"{len(run.committed_before)} held" if not lost else f"lost {lost}"
    if lost:
        verdict.problems.append(f"committed checkpoints were lost: {lost}")


def _judge_metrics(verdict: Verdict, drill: Drill, lines: list[dict], reference: Final) -> None:
    missing = analysis.missing_steps(lines, reference.lines)
    differing = analysis.differing_steps(lines, reference.lines)
    verdict.metrics = "all" if not missing else f"{len(missing)} missing"
    if missing:
        verdict.problems.append(f"no metrics of {len(missing)} steps from {missing[0]} to {missing[-1]}")
    if differing and drill.same_weights:
        verdict.problems.append(f"other values than undisturbed at steps {differing}")


def _judge_weights(verdict: Verdict, drill: Drill, left: Final, reference: Final) -> None:
    distance = left.distance(reference)
    verdict.weights = "same bits" if distance == 0 else f"{distance:.1e} off"
    if distance > (0 if drill.same_weights else _LARGEST_DISTANCE):
        verdict.problems.append(f"weights differ from the undisturbed run's by {distance:.1e}")
