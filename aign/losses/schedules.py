"""How alpha and scale change over a run: pure functions of the position in it, spelled compactly in options.

    fixed:1                     always 1; a plain number means the same
    linear:2:0                  from 2 to 0 in equal steps (the paper's annealing of depth, section 3.2)
    cosine:2:-2                 from 2 to -2, slowly at both ends
    geometric:8:1               from 8 to 1 in equal ratios, for a scale
    gnc                         graduated non-convexity: the 13 alphas of the paper's registration, section 3.3
    piecewise:0=2,0.5=1,1=0     straight between the points POSITION=VALUE
    steps:0=2,0.5=1             each value held until the next position
    adaptive:0:2                not scheduled: alpha is learnt between 0 and 2; adaptive:0:2:1 starts at 1
    adaptive:0.01               a scale that is learnt, starting at 0.01

``str`` of a schedule is its spelling. Positions are fractions of the run, 0 at its start and 1 at its end; values are
floats on the host, so nothing waits for a device.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from aign.errors import UserError
from aign.options import OverTheRun

GNC = (2.0, 1.0, 0.5, 0.25, 0.0, -0.25, -0.5, -1.0, -2.0, -4.0, -8.0, -16.0, -32.0)
"""Alphas of shape-annealed fast global registration."""
GNC_SLOTS = 16
"""The paper's 64 iterations change alpha every 4, so there are 16 slots; the last alpha is held in those left over."""


class Schedule(ABC):
    """A value for each position in a run."""

    @abstractmethod
    def at(self, done: float) -> float:
        """The value when this fraction of the run is done; 0 to 1, and what lies outside counts as the nearer end."""

    @property
    @abstractmethod
    def values(self) -> tuple[float, ...]:
        """The values it passes through or lies between, the lowest and the highest among them."""

    @abstractmethod
    def __str__(self) -> str: ...


@dataclass(frozen=True)
class Fixed(Schedule):
    value: float

    def at(self, done: float) -> float:
        return float(self.value)

    @property
    def values(self) -> tuple[float, ...]:
        return (float(self.value),)

    def __str__(self) -> str:
        return f"fixed:{_spelled(self.value)}"


@dataclass(frozen=True)
class _Between(Schedule):
    first: float
    last: float

    @property
    def values(self) -> tuple[float, ...]:
        return float(self.first), float(self.last)

    def __str__(self) -> str:
        return f"{type(self).__name__.lower()}:{_spelled(self.first)}:{_spelled(self.last)}"


class Linear(_Between):
    def at(self, done: float) -> float:
        return _mix(self.first, self.last, _clamped(done))


class Cosine(_Between):
    def at(self, done: float) -> float:
        return _mix(self.first, self.last, 0.5 - 0.5 * math.cos(math.pi * _clamped(done)))


class Geometric(_Between):
    def at(self, done: float) -> float:
        part = _clamped(done)
        return float(self.first) ** (1 - part) * float(self.last) ** part


@dataclass(frozen=True)
class Gnc(Schedule):
    def at(self, done: float) -> float:
        slot = int(_clamped(done) * GNC_SLOTS + 1e-9)  # a step that divides the run must not round into the slot before
        return GNC[min(slot, len(GNC) - 1)]

    @property
    def values(self) -> tuple[float, ...]:
        return GNC

    def __str__(self) -> str:
        return "gnc"


@dataclass(frozen=True)
class _ByPoints(Schedule):
    points: tuple[tuple[float, float], ...]
    """Positions, rising, each with its value; the first and last value are held outside."""

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(float(value) for _, value in self.points)

    def __str__(self) -> str:
        points = ",".join(f"{_spelled(position)}={_spelled(value)}" for position, value in self.points)
        return f"{type(self).__name__.lower()}:{points}"


class Steps(_ByPoints):
    def at(self, done: float) -> float:
        begun = [value for position, value in self.points if position <= _clamped(done)]
        return float(begun[-1] if begun else self.points[0][1])


class Piecewise(_ByPoints):
    def at(self, done: float) -> float:
        done = _clamped(done)
        (before, value), *others = self.points
        for position, next_value in others:
            if done < position:
                part = max(0.0, (done - before) / (position - before))
                return _mix(value, next_value, part)
            before, value = position, next_value
        return float(value)


@dataclass(frozen=True)
class AdaptiveAlpha:
    """Alpha is learnt, strictly between two values (Eq. 20), starting half-way unless said otherwise."""

    low: float
    high: float
    start: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high < math.inf:
            reason = "the likelihood that learns alpha exists between 0 and infinity only"
            raise _refused("alpha", str(self), reason, "give 0 or more, then more than that, as in adaptive:0:2")
        if self.start is not None and not self.low < self.start < self.high:
            reason, remedy = (
                f"does not start between {self.low:g} and {self.high:g}",
                "start inside, or leave the start out",
            )
            raise _refused("alpha", str(self), reason, remedy)

    def __str__(self) -> str:
        start = () if self.start is None else (self.start,)
        return ":".join(["adaptive", *map(_spelled, (self.low, self.high, *start))])


@dataclass(frozen=True)
class AdaptiveScale:
    """Scale is learnt (Eq. 21), starting here."""

    start: float

    def __str__(self) -> str:
        return f"adaptive:{_spelled(self.start)}"


Alpha = Schedule | AdaptiveAlpha
Scale = Schedule | AdaptiveScale


def is_constant(spelling: str) -> bool:
    """Whether an alpha or a scale does not go by how much of the run is done; one that is learnt does not."""
    return spelling.strip().partition(":")[0] in ("fixed", "adaptive") or _number(spelling) is not None


Scheduled = Annotated[str, OverTheRun(is_constant)]
"""The type of an option that spells an alpha or a scale."""


def parse_alpha(spelling: str) -> Alpha:
    """Alpha's schedule from its spelling; any real number, and fixed also at inf or -inf.

    Raises UserError for a spelling that means nothing.
    """
    schedule = _parse("alpha", spelling, ("geometric",))
    if schedule is not None:
        if not isinstance(schedule, Fixed) and any(map(math.isinf, schedule.values)):
            raise _refused("alpha", spelling, "there is no way to or from an infinite alpha", "use fixed:-inf or -32")
        return schedule
    return AdaptiveAlpha(*_numbers("alpha", spelling, (2, 3)))


def parse_scale(spelling: str) -> Scale:
    """Scale's schedule from its spelling, in the residual's unit; always positive and finite.

    Raises UserError for a spelling that means nothing.
    """
    scale: Scale | None = _parse("scale", spelling, ("gnc",))
    scale = scale or AdaptiveScale(*_numbers("scale", spelling, (1,)))
    check_scale(scale)
    return scale


def check_scale(scale: Scale) -> None:
    """Raises UserError unless it always is positive and finite."""
    values = scale.values if isinstance(scale, Schedule) else (scale.start,)
    if not all(0 < value < math.inf for value in values):
        raise _refused("scale", str(scale), "a scale is positive and finite", "give the size of residuals still normal")


def _parse(name: str, spelling: str, not_for_it: tuple[str, ...]) -> Schedule | None:
    """All but ``adaptive``, for which it is None."""
    kind, _, rest = spelling.strip().partition(":")
    if kind == "adaptive":
        return None
    if _number(kind) is not None and not rest:
        return _parse(name, f"fixed:{kind}", not_for_it)
    if kind == "fixed":
        return Fixed(*_numbers(name, spelling, (1,)))
    between: dict[str, type[_Between]] = {"linear": Linear, "cosine": Cosine, "geometric": Geometric}
    if kind in between and kind not in not_for_it:
        return between[kind](*_numbers(name, spelling, (2,)))
    by_points: dict[str, type[_ByPoints]] = {"piecewise": Piecewise, "steps": Steps}
    if kind in by_points:
        return by_points[kind](_points(name, spelling, kind, rest))
    if kind == "gnc" and kind not in not_for_it:
        if rest:
            raise _refused(name, spelling, "gnc takes no numbers", "write gnc")
        return Gnc()
    kinds = [k for k in ("fixed", *between, *by_points, "gnc", "adaptive") if k not in not_for_it]
    raise _refused(
        name, spelling, f"{kind!r} is none of {', '.join(kinds)}", f"write for example {_EXAMPLES[name]['fixed']}"
    )


_SMALLEST, _LARGEST = float(np.finfo(np.float32).smallest_normal), float(np.finfo(np.float32).max)
_EXAMPLES = {
    "alpha": {"fixed": "fixed:1", "linear": "linear:2:0", "cosine": "cosine:2:-2", "adaptive": "adaptive:0:2"},
    "scale": {
        "fixed": "fixed:2",
        "linear": "linear:8:2",
        "cosine": "cosine:8:2",
        "geometric": "geometric:8:2",
        "adaptive": "adaptive:0.01",
    },
}


def _numbers(name: str, spelling: str, counts: tuple[int, ...]) -> list[float]:
    kind, *parts = spelling.strip().split(":")
    numbers = [_number(part) for part in parts]
    if len(numbers) not in counts or None in numbers:
        wanted = " or ".join(map(str, counts))
        reason = f"{kind} takes {wanted} number{'' if wanted == '1' else 's'} after colons"
        raise _refused(name, spelling, reason, f"write for example {_EXAMPLES[name][kind]}")
    return [number for number in numbers if number is not None]


def _points(name: str, spelling: str, kind: str, rest: str) -> tuple[tuple[float, float], ...]:
    pairs = [tuple(map(_number, point.split("="))) for point in rest.split(",")]
    remedy = f"write for example {kind}:0=2,0.5=1,0.8=0.5"
    points = [(pair[0], pair[1]) for pair in pairs if len(pair) == 2 and pair[0] is not None and pair[1] is not None]
    if len(points) < len(pairs):
        raise _refused(name, spelling, f"{kind} takes points POSITION=VALUE with commas between", remedy)
    positions = [position for position, _ in points]
    if positions != sorted(set(positions)) or not 0 <= positions[0] <= positions[-1] <= 1:
        raise _refused(name, spelling, "positions must rise and lie between 0 and 1", remedy)
    return tuple(points)


def _number(text: str) -> float | None:
    """As losses compute with it: what is too large for float32 is infinite, and what is too small is 0."""
    try:
        number = float(text)
    except ValueError:
        return None
    if math.isnan(number):
        return None
    if abs(number) > _LARGEST:
        return math.copysign(math.inf, number)
    return number if abs(number) >= _SMALLEST else 0.0


def _spelled(number: float) -> str:
    return f"{number:g}" if float(f"{number:g}") == number else repr(float(number))


def _clamped(done: float) -> float:
    return min(1.0, max(0.0, done))


def _mix(first: float, last: float, part: float) -> float:
    return float(first) * (1 - part) + float(last) * part


def _refused(name: str, spelling: str, reason: str, remedy: str) -> UserError:
    return UserError(f"{name} = {spelling}", reason, remedy)
