"""Commands of this package: options from a dataclass, a table at the end, a person's mistake as one line."""

import contextlib
import io
import sys
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import TypeVar

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
    """The options; tyro's box of complaints becomes one line. Raises UserError."""
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(kind, args=list(argv), prog=prog)
    except SystemExit as ended:
        if not ended.code:  # --help
            raise
        lines = [line.strip("│ ") for line in box.getvalue().splitlines()[1:]]
        complaint = " ".join(takewhile(lambda line: line[:1] not in "─╰", lines)).removesuffix(".")
        raise UserError(prog, complaint, "--help tells more") from None


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """On a terminal as wide as that; elsewhere wide enough for every column. The first column is text."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH_OF_LOGS
    table = Table(title=title, title_justify="left", title_style="", min_width=min(len(title), console.width))
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
