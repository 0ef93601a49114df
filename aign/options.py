"""What dataclasses of options share: one check of all values, options without effect, and places.

An option states what it takes in its annotation, in the manner of annotated_types:

    width: Annotated[int, Ge(1), Le(16384)] = 512
    rotation: Literal["euler", "6d"] = "6d"

The command line, ``aign.train`` and a stored config.json all make the dataclass, so that all of them refuse the same
values in the same words.
"""

import dataclasses
import os
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from aign.errors import NotTrainable, did_you_mean

Fraction = Annotated[float, Ge(0), Le(1)]
Weight = Annotated[float, Ge(0), Le(10**6)]
"""Of a loss term; 0 switches it off."""
LearningRate = Annotated[float, Ge(0), Le(10)]
Steps = Annotated[int, Ge(1), Le(10**9)]
"""A number of steps: at a thousand a second, a billion last eleven days."""
Units = Annotated[int, Ge(1), Le(8192)]
"""Width of a fully connected layer: 8192 x 8192 weights and Adam's moments are 0.8 GB."""
Channels = Annotated[int, Ge(1), Le(2048)]
"""Width of a convolution."""
Blocks = Annotated[int, Ge(0), Le(256)]
"""Residual blocks in a row."""
ImageSize = Annotated[int, Ge(1), Le(2048)]
"""Width and height, px."""
Samples = Annotated[int, Ge(1), Le(10**7)]
"""How many samples are made or read."""
Seed = Annotated[int, Ge(0), Lt(2**32)]
"""What NumPy, PyTorch and Optuna take."""
Money = Annotated[float, Ge(0), Le(10**9)]
"""In any currency."""

_NUMBERS = {int: "whole number", float: "number"}
_REASONS = {
    "greater_than_equal": "too small",
    "greater_than": "too small",
    "less_than_equal": "too large",
    "less_than": "too large",
    "finite_number": "not finite",
    "too_short": "too few",
}

T = TypeVar("T")


class _Mark(Enum):
    CHANGEABLE = "an option that changes no number"


Changeable = Annotated[T, _Mark.CHANGEABLE]
"""The type of an option that changes no number of a run, so a run may go on with another value of it."""


@dataclass(frozen=True)
class OverTheRun:
    """Marks an option that may mean a schedule over the whole run, so that numbers depend on how long the run is."""

    is_constant: Callable[[Any], bool]
    """Of a value: whether it is the same however long the run is."""


def changeable(options: type) -> list[str]:
    """The fields of a dataclass of options that change no number."""
    return [field.name for field in dataclasses.fields(options) if _Mark.CHANGEABLE in _marks(field)]


def schedules(options: Any) -> list[str]:
    """The fields of these options whose values are schedules over the whole run."""
    return [
        field.name
        for field in dataclasses.fields(options)
        for mark in _marks(field)
        if isinstance(mark, OverTheRun) and not mark.is_constant(getattr(options, field.name))
    ]


def _marks(field: Any) -> tuple[Any, ...]:
    return getattr(field.type, "__metadata__", ())


class CheckedOptions:
    """Base of dataclasses of options: values that their annotations do not allow raise NotTrainable.

    Types are strict (no text for a number, no bool for an int), but whole numbers are taken for numbers and lists for
    tuples. Numbers are finite.
    """

    def __post_init__(self) -> None:
        kind: type = type(self)
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in vars(self).items()}
        try:
            checked = _validator(kind).validate_python(values)
        except ValidationError as error:
            raise _refusal(kind, values, error) from None
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def check_effect(options: Any, name: str, has_effect: bool, where: str) -> None:
    """Raises NotTrainable for an option that is not at its default where it has no effect."""
    value = getattr(options, name)
    if not has_effect and value != type(options).__dataclass_fields__[name].default:
        raise NotTrainable(f"{name} = {value}", f"no effect {where}", "leave it out")


def in_words(annotation: Any) -> str:
    """What an option takes: "a whole number from 1 to 16_384", "one of euler, 6d"."""
    kind, bounds = _bare(annotation)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(str(choice) for choice in get_args(kind))}"
    if get_origin(kind) is tuple:
        each, *others = get_args(kind)
        number = "" if others == [...] else f"{1 + len(others)} "
        return f"{number}values, each {in_words(each)}"
    if kind in _NUMBERS:
        return f"a {_NUMBERS[kind]} {_range(bounds)}".rstrip()
    return {bool: "True or False", str: "text"}.get(kind, getattr(kind, "__name__", str(kind)))


def bounds_in_words(annotation: Any) -> str:
    """The bounds of a number, or of each of several: "from 1 to 16_384"; empty for what has none."""
    kind, bounds = _bare(annotation)
    return bounds_in_words(get_args(kind)[0]) if get_origin(kind) is tuple else _range(bounds)


def annotations_of(kind: type) -> dict[str, Any]:
    """The annotations of a dataclass's fields by name."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


@cache
def _validator(kind: type) -> TypeAdapter:
    how = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    return TypeAdapter(with_config(how)(TypedDict(kind.__name__, annotations_of(kind))))  # type: ignore[operator]


def _refusal(kind: type, values: dict[str, Any], error: ValidationError) -> NotTrainable:
    """The first of the errors, with the name of the option."""
    first = error.errors(include_url=False)[0]
    name, wrong = str(first["loc"][0]), first["input"]
    annotation = annotations_of(kind)[name]
    shown = reprlib.repr(values[name])
    subject = "" if wrong is values[name] else f"{reprlib.repr(wrong)} is "
    choices = _choices(annotation)
    if choices and first["type"] == "literal_error":
        reason = f"{subject}not one of {', '.join(choices)}"
        return NotTrainable(f"{name} = {shown}", reason, did_you_mean(str(wrong), choices))
    kind_of_wrong = "no value" if wrong is None else f"of type {type(wrong).__name__}"
    reason = subject + _REASONS.get(first["type"], kind_of_wrong)
    return NotTrainable(f"{name} = {shown}", reason, f"give {in_words(annotation)}")


def _choices(annotation: Any) -> list[str]:
    kind, _ = _bare(annotation)
    if get_origin(kind) is tuple:
        return _choices(get_args(kind)[0])
    return [str(choice) for choice in get_args(kind)] if get_origin(kind) is Literal else []


def _bare(annotation: Any) -> tuple[Any, list[Any]]:
    """The type itself, without None and what is annotated, and its bounds."""
    if get_origin(annotation) is Annotated:
        kind, *stated = get_args(annotation)
        inner, bounds = _bare(kind)
        return inner, bounds + [bound for bound in stated if isinstance(bound, Ge | Gt | Le | Lt)]
    if get_origin(annotation) in (Union, UnionType):
        return _bare(next(member for member in get_args(annotation) if member is not NoneType))
    return annotation, []


def _range(bounds: list[Any]) -> str:
    limits = {word: f"{limit:_}" for bound in bounds for word, limit in dataclasses.asdict(bound).items()}
    if limits.keys() == {"ge", "le"}:
        return f"from {limits['ge']} to {limits['le']}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return " and ".join(f"{words[word]} {limits[word]}" for word in words if word in limits)


def make_absolute(options: Any, *names: str) -> None:
    """Let these options, where they name a local place, mean it in any folder: workers stand in others."""
    for name in names:
        object.__setattr__(options, name, absolute(getattr(options, name)))


def absolute(place: str) -> str:
    """A local path from / on; an address such as s3://bucket/prefix, and nothing, as they are."""
    return os.path.abspath(os.path.expanduser(place)) if place and "://" not in place else place
