"""What dataclasses of options share: checks that say what is wrong and what to write instead, and places."""

import os
from typing import Any

from aign.errors import UserError


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
