"""Speed and memory beside a plain loop that is compiled: the median of rounds that alternate between all arms."""

import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from statistics import median

import torch

from aign.training.acceleration import Acceleration
from aign.training.engine import TorchEngine
from tests.gpu.learning import SMALL, Learner, deepspeed
from tests.gpu.parts import Check, Place, Verdict

PLAIN = "plain compiled loop, fp32"
ARMS = {
    PLAIN: (None, "fp32", Acceleration(compile=True)),
    "plain loop, fp32": (None, "fp32", Acceleration()),
    "ZeRO 1, fp32, compiled": (1, "fp32", Acceleration(compile=True)),
    "ZeRO 1, bf16, compiled": (1, "bf16", Acceleration(compile=True)),
    "ZeRO 1, bf16, activation checkpointing": (1, "bf16", Acceleration(activation_checkpointing=True)),
}
"""By name: the ZeRO stage (None: without DeepSpeed), the precision, and the acceleration."""
ROUNDS, STEPS = 5, 20
WARM_UP = 8


class Measured:
    """What all arms of a task came to."""

    def __init__(self, place: Place, task: str) -> None:
        self.steps = 2 if place.small else STEPS
        self.memory_mib: dict[str, float] = {}
        learners: dict[str, Learner] = {}
        for name in arms(place):
            learners[name], self.memory_mib[name] = _warmed_up(place, task, name)
        self.seconds: dict[str, list[float]] = {name: [] for name in learners}
        for _ in range(2 if place.small else ROUNDS):
            for name, learner in learners.items():
                self.seconds[name].append(_timed(place, partial(learner.learn, self.steps)))

        self.batch_size = learner.run.training.batch_size

    def figure(self, name: str) -> str:
        first = next(iter(self.seconds))
        ratio = median(one / other for one, other in zip(self.seconds[first], self.seconds[name], strict=True))
        speed = self.batch_size * self.steps / median(self.seconds[name])
        return f"{speed:,.0f} samples/s, {ratio:.2f} of {first}; at most {self.memory_mib[name]:,.0f} MiB"


def speed(place: Place) -> Iterator[Check]:
    """Samples a second, also in parts of the first arm's, and the most memory that was allocated for an arm."""
    measured: Callable[[str], Measured] = cache(partial(Measured, place))
    for task in SMALL:
        for name in arms(place):
            yield f"{task}: {name}", partial(_measure, measured, task, name)


def arms(place: Place) -> list[str]:
    """The arms that are worth while: a CPU takes half a minute to compile one."""
    return [name for name, (_, _, how) in ARMS.items() if not (place.small and how.compile)]


def _measure(measured: Callable[[str], Measured], task: str, name: str) -> Verdict:
    return None, measured(task).figure(name)


def _warmed_up(place: Place, task: str, name: str) -> tuple[Learner, float]:
    """An arm after its first steps, and the most MiB that it needed in them."""
    zero_stage, precision, how = ARMS[name]
    engine = TorchEngine if zero_stage is None else deepspeed(place, task, zero_stage)
    is_gpu = place.device.type == "cuda"
    before = torch.cuda.memory_allocated() if is_gpu else 0
    if is_gpu:
        torch.cuda.reset_peak_memory_stats()
    learner = Learner(place, task, engine, how, precision=precision)
    _timed(place, partial(learner.learn, 1 if place.small else WARM_UP))
    peak = torch.cuda.max_memory_allocated() if is_gpu else 0
    return learner, (peak - before) / 2**20


def _timed(place: Place, work: Callable[[], object]) -> float:
    def wait() -> None:
        if place.device.type == "cuda":
            torch.cuda.synchronize()

    wait()
    began = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - began
