"""CSV tables as spreadsheets and scripts write them, read whole or refused with the number of the row.

Columns are parted by commas, or by semicolons or tabs if the header is; numbers have a decimal point, or a decimal
comma if semicolons part them. A byte order mark, spaces around names, empty rows and empty cells beyond the last column
are harmless.
"""

import csv
import io
import re
from collections import Counter
from typing import NamedTuple

import pandas as pd

from aign.errors import UserError

_REMEDY = "save it as CSV, UTF-8"


class Rows(NamedTuple):
    """A table of texts."""

    columns: list[str]
    cells: list[list[str]]
    numbers: list[int]
    """Of each row in the file; the header's is 1."""


def read_rows(content: bytes, place: str) -> Rows:
    """A table's header and rows, each as long as the header.

    Raises UserError for what is no table, two columns of one name, and a longer or shorter row, with its number.
    """
    text = _text(content, place)
    columns: list[str] = []
    cells, numbers = [], []
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True)
        for number, row in enumerate(lines, start=1):
            row = [cell.strip() for cell in row]
            if not any(row):
                continue
            if not columns:
                columns = _columns(row, place)
                continue
            width = len(columns)
            if len(row) < width or any(row[width:]):
                reason = f"has {len(row)} cells, the header {width}"
                raise UserError(f"{place}, row {number}", reason, "mend the row; put texts with commas in quotes")
            cells.append(row[:width])
            numbers.append(number)
    except csv.Error as error:
        at = f"{place}, row {len(numbers) + 2 if columns else 1}"
        raise UserError(at, f"is not a CSV table ({error})", _REMEDY) from None
    if not cells:
        raise UserError(place, "is not a CSV table (it has no rows)", _REMEDY)
    if _separator(text) == ";" and not any(re.fullmatch(r"-?\d+\.\d+", cell) for row in cells for cell in row):
        cells = [[re.sub(r"^(-?\d+),(\d+)$", r"\1.\2", cell) for cell in row] for row in cells]
    return Rows(columns, cells, numbers)


def read_table(content: bytes, place: str, texts: tuple[str, ...] = ()) -> pd.DataFrame:
    """A table whose columns are numbers where all their cells are; ``texts`` stay texts. Raises as ``read_rows``."""
    rows = read_rows(content, place)
    again = io.StringIO()
    csv.writer(again).writerows([rows.columns, *rows.cells])
    again.seek(0)
    return pd.read_csv(again, dtype=dict.fromkeys(texts, "str"), index_col=False, skip_blank_lines=False)


def _text(content: bytes, place: str) -> str:
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"", "utf-8-sig")):
        if content.startswith(mark):
            try:
                return content.decode(encoding)
            except UnicodeDecodeError as error:
                reason = (
                    f"is not a CSV table (byte {error.start} is no text in {encoding.removesuffix('-sig').upper()})"
                )
                raise UserError(place, reason, _REMEDY) from None
    raise AssertionError("the last encoding has no mark")


def _separator(text: str) -> str:
    header = next((line for line in text.splitlines() if line.strip()), "")
    return max(",;\t", key=header.count)


def _columns(names: list[str], place: str) -> list[str]:
    while names and not names[-1]:
        names = names[:-1]
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise UserError(place, f"has {count} columns called {name!r}", "give each its own name")
    return names
