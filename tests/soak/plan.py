"""Which faults come to which run: all of it follows from a seed."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

from tests.soak.journal import Entry

CHECKPOINT_EVERY, LOG_EVERY = 20, 5
STEPS_FOR_A_FAULT = 3 * CHECKPOINT_EVERY
"""Some faults take long, and the run trains on meanwhile; a run that is over too early gets fewer of them."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How a run is made: its workers, and how many faults come to it at most."""

    workers: int
    faults: int

    @property
    def steps(self) -> int:
        return STEPS_FOR_A_FAULT * (self.faults + 1)

    @property
    def options(self) -> tuple[str, ...]:
        """Of the command: a tiny network with discriminators, some 60 ms of one core a step."""
        often = ("--checkpoint-every", str(CHECKPOINT_EVERY), "--log-every", str(LOG_EVERY))
        tiny = ("--width", "32", "--num-blocks", "1", "--batch-size", "128")
        failures = ("--max-failures", str(self.faults)) if self.workers else ()
        return ("--steps", str(self.steps), *often, "--evaluate-every", str(self.steps), *tiny, *failures)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault; ``dice`` decide about its details."""

    number: int
    kind: str
    dice: Random


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``count`` faults, dealt to one run after the other; each kind comes about as often as the others."""

    seed: int
    count: int
    alone: Sequence[str]
    """Kinds that can come to a run without workers."""
    on_ray: Sequence[str]
    """Kinds that can come to one on Ray; empty: no such runs."""

    def shape(self, run: int) -> Shape:
        """Two runs without workers, then one on Ray, and again; so a fifth of the faults are on Ray."""
        on_ray = self.on_ray and run % 3 == 0
        return Shape(workers=2, faults=5) if on_ray else Shape(workers=0, faults=min(10, self.count))

    def next(self, run: str, shape: Shape, done: Collection[Entry]) -> Fault | None:
        """The next fault for a run, after those that are done; None if it has had its faults, or there are no more."""
        if len(done) >= self.count or sum(entry.run == run for entry in done) >= shape.faults:
            return None
        kinds = self.on_ray if shape.workers else self.alone
        before = sum(entry.workers == shape.workers for entry in done)
        number = len(done) + 1
        kind = next(islice(_dealt(Random(f"{self.seed}/{shape.workers}"), kinds), before, None))
        return Fault(number=number, kind=kind, dice=Random(f"{self.seed}/{number}"))


def _dealt(random: Random, kinds: Sequence[str]) -> Iterator[str]:
    """The kinds as from a pack of cards: all of them, then all of them in another order."""
    while True:
        yield from random.sample(kinds, len(kinds))
