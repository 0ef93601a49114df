"""Commands: options from a dataclass, a table at the end, a person's mistake as one line."""

import contextlib
import dataclasses
import io
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import takewhile
from typing import Any, TypeVar

import tyro
from rich.console import Console
from rich.table import Table
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from aign.errors import UserError
from aign.options import bounds_in_words, in_words

T = TypeVar("T")
WIDTH_OF_LOGS = 200


def run(kind: type[T], command: Callable[[T], None], prog: str, argv: Sequence[str] | None = None) -> int:
    """Parse options of ``kind``, run the command with them; returns the exit status, 2 after one line of error."""
    try:
        command(parse(kind, sys.argv[1:] if argv is None else argv, prog))
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def parse(kind: type[T], argv: Sequence[str], prog: str) -> T:
    """The options. Raises UserError for one that is not, or has no such value."""
    return _read(kind, argv, prog, {})


def parse_known(kind: Any, argv: Sequence[str], prog: str, description: str | None = None) -> tuple[Any, list[str]]:
    """The options, and the arguments that are none of them."""
    return _read(kind, argv, prog, {"description": description, "return_unknown_args": True})


REGISTRY = ConstructorRegistry()
WITH_BOUNDS = "with bounds"


@REGISTRY.struct_rule
def _with_bounds(info: StructTypeInfo) -> StructConstructorSpec | None:
    """tyro's own rule for a dataclass, with the bounds of every option behind its help text."""
    if not dataclasses.is_dataclass(info.type) or WITH_BOUNDS in info.markers:
        return None
    spec: Any = ConstructorRegistry.get_struct_spec(dataclasses.replace(info, markers=(*info.markers, WITH_BOUNDS)))
    fields = tuple(dataclasses.replace(field, helptext=partial(_help, field)) for field in spec.fields)
    return dataclasses.replace(spec, fields=fields)


def _help(field: StructFieldSpec) -> str:
    text = field.helptext() if callable(field.helptext) else field.helptext
    bounds = bounds_in_words(field.type)
    return f"{text or ''} {bounds[:1].upper()}{bounds[1:]}{'.' if bounds else ''}".strip()


@REGISTRY.primitive_rule
def _number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """As tyro's own, but what is no number is told in words of ours, not of Python's."""
    kind = info.type
    if kind not in (int, float):
        return None

    def read(words: list[str]) -> int | float:
        try:
            return kind(words[0])
        except ValueError:
            raise ValueError(f"{words[0]!r} is not {in_words(kind)}") from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=kind.__name__.upper(),
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, kind),
        str_from_instance=lambda value: [str(value)],
    )


def _read(kind: Any, argv: Sequence[str], prog: str, how: dict[str, Any]) -> Any:
    """tyro's box of complaints becomes one line."""
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(kind, args=list(argv), prog=prog, registry=REGISTRY, **how)
    except SystemExit as ended:
        if not ended.code:  # --help
            raise
        raise UserError(prog, _complaint(box.getvalue()), "--help tells more") from None


def _complaint(box: str) -> str:
    """The text between the first two rules of a box, which is drawn with other characters where stdout is not UTF-8."""
    lines = iter(line.strip("│| ") for line in box.splitlines())
    for line in lines:
        if line.strip("╭─╮-").strip() != line:  # a rule, or one with the title in it
            break
    return " ".join(takewhile(lambda line: line.strip("─╰╯-"), lines)).removesuffix(".")


def make_console() -> Console:
    """The terminal; a pipe or a log file is wide, so that no table loses its columns there."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH_OF_LOGS
    return console


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The first column is text, the others are numbers."""
    console = make_console()
    table = Table(title=title, title_justify="left", title_style="", min_width=min(len(title), console.width))
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
