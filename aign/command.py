"""Commands: options from a dataclass, a table at the end, a person's mistake as one line."""

import contextlib
import io
import sys
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any, TypeVar

import tyro
from rich.console import Console
from rich.table import Table

from aign.errors import UserError

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


def _read(kind: Any, argv: Sequence[str], prog: str, how: dict[str, Any]) -> Any:
    """tyro's box of complaints becomes one line."""
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(kind, args=list(argv), prog=prog, **how)
    except SystemExit as ended:
        if not ended.code:  # --help
            raise
        lines = [line.strip("│ ") for line in box.getvalue().splitlines()[1:]]
        complaint = " ".join(takewhile(lambda line: line[:1] not in "─╰", lines)).removesuffix(".")
        raise UserError(prog, complaint, "--help tells more") from None


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
