"""JSON that a store or a disk holds, read into an object of a stated shape.

Whoever may write to a bucket or a folder can put anything there, and a crash can cut a file short. So every file is
checked against the type that its reader expects, and what does not fit is one line that names the file and the field.

    class Pointer(TypedDict):  # from typing_extensions
        path: list[str]
        last: NotRequired[int]

    pointer = read_json(b'{"path": ["0"]}', "path.json", Pointer)
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from aign.errors import UserError

T = TypeVar("T")
LONGEST_NAME = 80

_adapter: Callable[[Any], Any] = cache(TypeAdapter)


def read_json(
    content: bytes | str, where: object, kind: Callable[..., T], remedy: str = "restore it, or use another one"
) -> T:
    """``content`` as a ``kind``: a dataclass, a TypedDict, or any type made of those and of JSON's own.

    Types are exact: a number in quotes is no number and 2.0 is no int, but an int will do for a float. Fields without
    a default must be there. A dataclass refuses fields that it does not have; a TypedDict keeps them. NaN and infinity
    are floats, as Python writes them: annotate with ``pydantic.FiniteFloat`` where none may be.

    Raises UserError about ``where``: not UTF-8, not JSON, nested too deep, or not of this shape; and what a
    dataclass's own ``__post_init__`` raises.
    """
    try:
        return _adapter(kind).validate_json(content, strict=True, extra="allow" if _keeps_others(kind) else "forbid")
    except ValidationError as error:
        raise UserError(where, _reason(error), remedy) from None


def with_tuples(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A dataclass's fields as JSON holds them, which has lists for its tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}


def _keeps_others(kind: Any) -> bool:
    return not hasattr(kind, "__dataclass_fields__")


def _reason(error: ValidationError) -> str:
    """The first thing that is wrong, in one line whatever the file holds."""
    first = error.errors(include_url=False, include_input=False)[0]
    message = first["msg"][:1].lower() + first["msg"][1:]
    if first["type"] == "json_invalid":
        return f"is not JSON ({message.removeprefix('invalid JSON: ')})"
    field = ".".join(str(part) for part in first["loc"])
    return f"is not what was expected ({repr(field[:LONGEST_NAME]) + ': ' if field else ''}{message})"
