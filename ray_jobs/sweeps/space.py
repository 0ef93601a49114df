"""What a sweep searches: for each option, alternatives with ranges in braces.

    alpha=fixed:2|linear:2:0|gnc            one of three spellings
    alpha=fixed:{-2:2}|linear:2:{-4:1}      one of two, each with a number of its own
    generator_lr={log:1e-4:1e-2}            a number whose logarithm is uniform
    num_blocks={int:1:4}                    a whole number, both ends included

The same in a TOML file: ``alpha = ["fixed:{-2:2}", "gnc"]``, ``generator_lr = "{log:1e-4:1e-2}"``.
"""

import itertools
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from aign.errors import UserError

RANGE = re.compile(r"\{([^{}]*)\}")
PERTURBATION = 0.2
"""How far a number moves when it is explored, in parts of its range (of its logarithm's, where that is uniform)."""
RESAMPLED = 0.25
"""How often a number is drawn anew instead."""
TRIES = 20
"""Draws for each point that is wanted, in spaces that hold few."""
MOST_ALTERNATIVES = 100
"""Of one option: each is checked before anything starts."""

Point = dict[str, float | int]
"""One place in a space: ``OPTION`` says which of its alternatives, ``OPTION.ALTERNATIVE.NUMBER`` a number in it."""


@dataclass(frozen=True)
class Range:
    """Where a number lies."""

    low: float
    high: float
    kind: str = "uniform"

    @classmethod
    def parse(cls, text: str) -> "Range":
        """From ``LOW:HIGH``, ``log:LOW:HIGH`` or ``int:LOW:HIGH``. Raises UserError for anything else."""
        *kind, low, high = text.split(":") if text.count(":") in (1, 2) else ("", "", "")
        try:
            found = cls(float(low), float(high), kind[0] if kind else "uniform")
        except ValueError:
            found = None
        if found is None or found.kind not in ("uniform", "log", "int"):
            raise UserError(f"{{{text}}}", "not a range", "write {-2:2}, {log:1e-4:1e-2} or {int:1:4}")
        if not -math.inf < found.low < found.high < math.inf:
            raise UserError(f"{{{text}}}", "does not go from a number up to a larger one", "swap them, say")
        if found.kind == "log" and found.low <= 0:
            raise UserError(f"{{{text}}}", "there is no logarithm of zero or less", "begin above zero")
        if found.kind == "int" and (found.low % 1 or found.high % 1):
            raise UserError(f"{{{text}}}", "does not lie between whole numbers", "leave int: out, or round")
        return found

    def sample(self, rng: np.random.Generator) -> float | int:
        return self._from_unit(rng.random())

    def explore(self, value: float, rng: np.random.Generator) -> float | int:
        """A number near this one, or now and then any."""
        if rng.random() < RESAMPLED:
            return self.sample(rng)
        return self._from_unit(self.to_unit(value) + PERTURBATION * float(rng.choice([-1, 1])))

    def clipped(self, value: float) -> float | int:
        """The number that the command line can spell, inside the range."""
        return self._from_unit(self.to_unit(value))

    @property
    def middle(self) -> float | int:
        return self._from_unit(0.5)

    @property
    def ends(self) -> list[float | int]:
        """Both, and of whole numbers the second, which few divisors of the first divide too."""
        whole = [self.low + 1] if self.kind == "int" else []
        return [self.clipped(value) for value in (self.low, *whole, self.high)]

    @property
    def size(self) -> float:
        """How many numbers there are; infinite where they have a fraction."""
        return self.high - self.low + 1 if self.kind == "int" else math.inf

    def to_unit(self, value: float) -> float:
        """Where in the range a number lies, 0 to 1."""
        low, high, value = (math.log(x) if self.kind == "log" else x for x in (self.low, self.high, value))
        return (value - low) / (high - low)

    def _from_unit(self, part: float) -> float | int:
        part = min(1.0, max(0.0, part))
        if self.kind == "log":
            return _short(math.exp(math.log(self.low) * (1 - part) + math.log(self.high) * part))
        value = self.low * (1 - part) + self.high * part
        return round(value) if self.kind == "int" else _short(value)


@dataclass(frozen=True)
class Alternative:
    """A spelling of an option's value, with ranges in it."""

    spelling: str

    @cached_property
    def ranges(self) -> list[Range]:
        return [Range.parse(text) for text in RANGE.findall(self.spelling)]

    @property
    def middle(self) -> str:
        """The spelling with the number in the middle of each range."""
        return self.spelled([interval.middle for interval in self.ranges])

    @property
    def corners(self) -> list[str]:
        """The spelling with the ends of its ranges, all together and each beside the middles of the others."""
        middles, ends = [interval.middle for interval in self.ranges], [interval.ends for interval in self.ranges]
        points = [[low for low, *_ in ends], [high for *_, high in ends]]
        points += [[*middles[:k], end, *middles[k + 1 :]] for k, own in enumerate(ends) for end in own]
        return list(dict.fromkeys(self.spelled(point) for point in points))

    @property
    def size(self) -> float:
        """How many values it has."""
        return math.prod(interval.size for interval in self.ranges)

    def spelled(self, numbers: Sequence[float]) -> str:
        """The spelling with numbers in place of ranges."""
        left = iter(numbers)
        return RANGE.sub(lambda _: _spelled(next(left)), self.spelling)


class Space:
    """Options and their alternatives."""

    def __init__(self, options: Mapping[str, Sequence[str]]) -> None:
        self.options = {name: [Alternative(spelling) for spelling in options[name]] for name in options}
        for name, alternatives in self.options.items():
            _check_alternatives(name, [alternative.spelling for alternative in alternatives])
            for alternative in alternatives:
                _ = alternative.ranges  # a mistake shows now

    @classmethod
    def read(cls, entries: Sequence[str], file: Path | None = None) -> "Space":
        """From ``OPTION=ALTERNATIVE|ALTERNATIVE`` and a TOML file. Raises UserError if there is nothing to search."""
        found = _read_file(file) if file else {}
        for entry in entries:
            name, equals, spelling = entry.partition("=")
            name = name.strip().removeprefix("--").replace("-", "_")
            if not equals or not name or not spelling:
                raise UserError(f"--space {entry!r}", "not OPTION=VALUES", "write 'alpha=fixed:{-2:2}|gnc'")
            if name in found:
                raise UserError(f"--space {entry!r}", f"{name} is there twice", "join its values with |")
            found[name] = [part.strip() for part in spelling.split("|")]
        if not found:
            raise UserError("--space", "nothing to search", "add --space 'alpha=fixed:{-2:2}|gnc' or --space-file FILE")
        return cls(found)

    def middle(self) -> dict[str, str]:
        """A value for every option: its first alternative, with numbers from the middle of its ranges."""
        return self.values(self.middle_point())

    def middle_point(self) -> Point:
        """The place where those values are."""
        point: Point = dict.fromkeys(self.options, 0)
        return point | {name: self.ranges[name].middle for name in self.own_ranges(point)}

    def to_json(self) -> dict[str, list[str]]:
        return {name: [a.spelling for a in alternatives] for name, alternatives in self.options.items()}

    @cached_property
    def ranges(self) -> dict[str, Range]:
        """All ranges by the names that points give them."""
        return {
            f"{name}.{i}.{k}": interval
            for name, alternatives in self.options.items()
            for i, alternative in enumerate(alternatives)
            for k, interval in enumerate(alternative.ranges)
        }

    def samples(self, seed: int, count: int) -> list[Point]:
        """Random points, no two the same; fewer than ``count`` where there are no more. A pure function."""
        rng = np.random.default_rng(seed)
        found: dict[tuple, Point] = {}
        count = int(min(count, self.size))
        for _ in range(TRIES * count):
            point = self._sample(rng)
            found.setdefault(tuple(self.values(point).items()), point)
            if len(found) == count:
                break
        return list(found.values())

    @property
    def size(self) -> float:
        """How many points there are; infinite where numbers have a fraction."""
        return math.prod(sum(choice.size for choice in choices) for choices in self.options.values())

    def _sample(self, rng: np.random.Generator) -> Point:
        point: Point = {name: int(rng.integers(len(choices))) for name, choices in self.options.items()}
        return point | {name: self.ranges[name].sample(rng) for name in self.own_ranges(point)}

    def grid(self, count: int) -> list[Point]:
        """The first combinations of alternatives, so many or all. Raises UserError if there are ranges."""
        if self.ranges:
            name = next(iter(self.ranges)).split(".")[0]
            raise UserError(f"--search grid with {name}", "a range has no end of values", "list them, or search random")
        names = list(self.options)
        sizes = [range(len(alternatives)) for alternatives in self.options.values()]
        first = itertools.islice(itertools.product(*sizes), count)
        return [dict(zip(names, chosen, strict=True)) for chosen in first]

    def explore(self, point: Point, rng: np.random.Generator) -> Point:
        """A point near this one: alternatives stay, numbers move."""
        return point | {name: self.ranges[name].explore(point[name], rng) for name in self.own_ranges(point)}

    def values(self, point: Point) -> dict[str, str]:
        """Every option's value at a point, as one writes it on the command line."""
        return {name: self._chosen(point, name).spelled(numbers) for name, numbers in self._numbers(point)}

    def _chosen(self, point: Point, name: str) -> Alternative:
        return self.options[name][int(point[name])]

    def own_ranges(self, point: Point) -> Iterator[str]:
        """The ranges, by name, in the alternatives that a point has chosen."""
        for name in self.options:
            yield from (f"{name}.{point[name]}.{k}" for k in range(len(self._chosen(point, name).ranges)))

    def _numbers(self, point: Point) -> Iterator[tuple[str, list[float]]]:
        own = list(self.own_ranges(point))
        for name in self.options:
            yield name, [point[number] for number in own if number.rsplit(".", 2)[0] == name]


def _read_file(file: Path) -> dict[str, list[str]]:
    try:
        entries = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"--space-file {file}", _why_not(error), "give a TOML file: OPTION = VALUE or a list") from None
    found = {}
    for name, values in entries.items():
        listed = values if isinstance(values, list) else [values]
        if any(isinstance(value, list | dict) for value in listed):
            raise UserError(f"--space-file {file}", f"{name} is neither a value nor a list of values", "write one")
        found[name.replace("-", "_")] = [str(value) for value in listed]
    return found


def _why_not(error: Exception) -> str:
    """Why a file of TOML could not be read."""
    match error:
        case OSError():
            return f"cannot be read ({(error.strerror or type(error).__name__).lower()})"
        case UnicodeDecodeError():
            return "is not UTF-8"
        case RecursionError():
            return "is nested too deep"
    return f"is not TOML ({error})"


def _check_alternatives(name: str, spellings: Sequence[str]) -> None:
    if not all(spellings) or not spellings:
        raise UserError(f"space of {name}", "has an alternative without a value", "write one, or leave it out")
    if len(spellings) > MOST_ALTERNATIVES:
        reason = f"has {len(spellings):,} alternatives, more than {MOST_ALTERNATIVES}"
        raise UserError(f"space of {name}", reason, "write a range: {int:0:4999}, say")
    twice = next((spelling for spelling in spellings if spellings.count(spelling) > 1), None)
    if twice is not None:
        raise UserError(f"space of {name}", f"has {twice} twice", "leave one of them out")


def _spelled(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def _short(value: float) -> float:
    """Six digits: what the command that repeats a trial can spell."""
    return float(f"{value:g}")
