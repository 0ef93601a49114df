"""What dataclasses of options share: checks that say what is wrong and what to write instead, and places."""

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, TypeVar

from aign.errors import UserError

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


def check_positive(options: Any, *names: str) -> None:
    """Raises UserError unless these options are one or more."""
    for name in names:
        if getattr(options, name) < 1:
            raise UserError(f"{name} = {getattr(options, name)}", "less than one", "give a positive number")


def check_not_negative(options: Any, *names: str) -> None:
    """Raises UserError unless these options are zero or more."""
    for name in names:
        if not getattr(options, name) >= 0:
            raise UserError(f"{name} = {getattr(options, name)}", "less than zero", "give zero or more")


def check_effect(options: Any, name: str, has_effect: bool, where: str) -> None:
    """Raises UserError for an option that is not at its default where it has no effect."""
    value = getattr(options, name)
    if not has_effect and value != type(options).__dataclass_fields__[name].default:
        raise UserError(f"{name} = {value}", f"no effect {where}", "leave it out")


def make_absolute(options: Any, *names: str) -> None:
    """Let these options, where they name a local place, mean it in any folder: workers stand in others."""
    for name in names:
        object.__setattr__(options, name, absolute(getattr(options, name)))


def absolute(place: str) -> str:
    """A local path from / on; an address such as s3://bucket/prefix, and nothing, as they are."""
    return os.path.abspath(os.path.expanduser(place)) if place and "://" not in place else place
