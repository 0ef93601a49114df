"""What a run's metrics and weights tell about a fault; nothing here touches a run or a store."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Metrics = Sequence[Mapping[str, Any]]
"""Lines of metrics in the order they were written, each with the number of its ``attempt``."""

_TIMES = ("time", "samples_per_second", "data_wait_share", "attempt")


def logged(lines: Metrics) -> list[Mapping[str, Any]]:
    """Lines of training; the others are of evaluations."""
    return [line for line in lines if "stage" in line]


def missing_steps(lines: Metrics, reference: Metrics) -> list[int]:
    """Steps that the undisturbed run logged and this one did not."""
    return sorted({line["step"] for line in logged(reference)} - {line["step"] for line in logged(lines)})


def differing_steps(lines: Metrics, reference: Metrics) -> list[int]:
    """Steps at which a loss term, in any attempt, is not exactly the undisturbed run's."""
    expected = {line["step"]: _values(line) for line in logged(reference)}
    found = {line["step"] for line in logged(lines) if _values(line) != expected.get(line["step"], _values(line))}
    return sorted(found)


def resumed_step(lines: Metrics, first: Mapping[str, Any]) -> int:
    """The step that an attempt went on from whose first line is ``first``; 0 where it began again.

    A checkpoint is written with a line of its step, so it is that of the last line before.
    """
    earlier = (line["step"] for line in logged(lines) if line["attempt"] < first["attempt"])
    return max((step for step in earlier if step < first["step"]), default=0)


def farthest_step(lines: Metrics, committed: Sequence[int], fault: float) -> int:
    """The largest step known to have been done when the fault came."""
    return max([0, *committed, *(line["step"] for line in logged(lines) if line["time"] <= fault)])


def estimated_step(lines: Metrics, fault: float, checkpoint_every: int) -> int:
    """The step that training had come to: the last line before the fault that was not lost with it, and on at its pace.

    Not as far as the next checkpoint: with that, more lines would have been kept.
    """
    before = [line for line in logged(lines) if line["time"] <= fault]
    if len(before) < 2:
        return 0
    earlier, last = before[-2], before[-1]
    pace = (last["step"] - earlier["step"]) / max(last["time"] - earlier["time"], 1e-3)
    next_checkpoint = (last["step"] // checkpoint_every + 1) * checkpoint_every
    return min(last["step"] + int(pace * (fault - last["time"])), next_checkpoint - 1)


def first_after(lines: Metrics, fault: float) -> Mapping[str, Any] | None:
    """The line that shows training going on: of a later attempt where there is one, else the next one."""
    before = max((line["attempt"] for line in lines if line["time"] <= fault), default=0)
    after = [line for line in logged(lines) if line["time"] > fault]
    return next((line for line in after if line["attempt"] > before), after[0] if after else None)


def lost_checkpoints(before: Sequence[int], readable: Sequence[int], num_kept: int = 2) -> list[int]:
    """Steps of checkpoints that were committed, cannot be read any more, and that retention had no reason to remove."""
    return [step for step in before if step not in readable and sum(newer > step for newer in readable) < num_kept]


def distance(tensors: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> float:
    """0 if all bits are equal, else the norm of the difference relative to the reference's; inf for other tensors."""
    if {k: (v.shape, v.dtype) for k, v in tensors.items()} != {k: (v.shape, v.dtype) for k, v in reference.items()}:
        return float("inf")
    if all(_bits(tensors[name]) == _bits(value) for name, value in reference.items()):
        return 0.0
    difference = sum(
        float((tensors[name].double() - value.double()).square().sum()) for name, value in reference.items()
    )
    norm = sum(float(value.double().square().sum()) for value in reference.values())
    return max((difference / norm) ** 0.5 if norm else float("inf"), torch.finfo(torch.float64).tiny)


def _bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def _values(line: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in _TIMES}
