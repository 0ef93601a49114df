"""Precisions and accelerations: the same losses, beside rounding, as plain single precision."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial

import torch

from aign.training.acceleration import Acceleration
from tests.gpu.learning import SMALL, Learner, at_most, deepspeed
from tests.gpu.parts import Check, Place, Verdict

HALF_BOUND = 0.05
"""8 (bf16) or 11 (fp16, tf32) bits, over ten steps, in parts of the largest loss."""
SAME_BOUND = 0.02
"""Other kernels round in another order, and ten steps of two players enlarge that."""
WAYS = {
    "compile": ("pose", Acceleration(compile=True)),
    "channels last": ("superres", Acceleration(channels_last=True)),
    "activation checkpointing": ("superres", Acceleration(activation_checkpointing=True)),
    "all three": ("superres", Acceleration(compile=True, channels_last=True, activation_checkpointing=True)),
}

Plain = Callable[[str], Learner]
"""What a task has learnt in single precision, plainly."""


def precision(place: Place) -> Iterator[Check]:
    """bf16, fp16 and, on a GPU, tf32 beside fp32, of a fully connected and a convolutional network."""
    plain = cache(lambda task: Learner(place, task).learn())
    for task in SMALL:
        for name in ("bf16", "fp16"):
            yield f"{task}: {name} beside fp32", partial(_half, place, plain, task, name)
        if place.device.type == "cuda":
            yield f"{task}: tf32 beside fp32", partial(_tf32, place, plain, task)


def _half(place: Place, plain: Plain, task: str, name: str) -> Verdict:
    return at_most(Learner(place, task, precision=name).learn().loss_gap(plain(task)), HALF_BOUND, "losses")


def _tf32(place: Place, plain: Plain, task: str) -> Verdict:
    exact = plain(task)
    with _ten_bits():
        return at_most(Learner(place, task).learn().loss_gap(exact), HALF_BOUND, "losses")


@contextmanager
def _ten_bits() -> Iterator[None]:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def acceleration(place: Place) -> Iterator[Check]:
    """Each way beside none, in the plain engine and in DeepSpeed's."""
    plain = cache(lambda task: Learner(place, task).learn())
    for name, (task, how) in WAYS.items():
        if not (place.small and how.compile):  # a CPU takes half a minute to compile
            yield f"{task}: {name}, plain engine", partial(_same, place, plain, task, how)
            yield f"{task}: {name}, DeepSpeed ZeRO 1", partial(_same, place, plain, task, how, zero_stage=1)


def _same(place: Place, plain: Plain, task: str, how: Acceleration, zero_stage: int | None = None) -> Verdict:
    engine = {} if zero_stage is None else {"make_engine": deepspeed(place, task, zero_stage)}
    return at_most(Learner(place, task, how=how, **engine).learn().loss_gap(plain(task)), SAME_BOUND, "losses")
