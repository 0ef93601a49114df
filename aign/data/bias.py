"""A bias: an expression over a table of attributes that says which samples are remembered.

    Male == -1 and Young == 1         identity == 17         age > 50 and not (Glasses == 1)
    split in ("train", "validation")  `5_o_Clock_Shadow` == 1

Comparisons of columns, numbers and texts, joined by ``and``, ``or``, ``not`` and parentheses; ``in`` a list. A column
whose name is no plain word stands in backquotes. It is parsed, never run: there is nothing else in the language. A row
without a value in a column that the expression names is not selected.
"""

import ast
import difflib
import operator
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Bool
from pandas.api.types import is_numeric_dtype

from aign.errors import UserError

_COMPARE: dict[type[ast.cmpop], Callable] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_QUOTED = re.compile(r"""('[^']*'|"[^"]*")|`([^`]*)`""")
_EXAMPLE = 'write it as "Male == -1 and Young == 1"'


def selected(expression: str, table: pd.DataFrame) -> Bool[np.ndarray, " rows"]:
    """Which rows of the table the expression selects.

    Raises UserError for what is no expression, an unknown column, and a comparison of numbers with texts.
    """
    names: dict[str, str] = {}

    def plain(match: re.Match) -> str:
        """A column in backquotes as a name that Python can parse; texts stay as they are."""
        if match[1] is not None:
            return match[1]
        names[f"_column_{len(names)}"] = match[2]
        return f"_column_{len(names) - 1}"

    try:
        tree = ast.parse(_QUOTED.sub(plain, expression.strip()), mode="eval")
        return _Reading(expression, table, names).all_of(tree.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UserError(f"bias {expression!r}", "is not an expression", _EXAMPLE) from None


class _Reading:
    """One expression read over one table."""

    def __init__(self, expression: str, table: pd.DataFrame, names: dict[str, str]) -> None:
        self.expression, self.table, self.names = expression, table, names
        self.missing = np.zeros(len(table), bool)

    def all_of(self, node: ast.expr) -> Bool[np.ndarray, " rows"]:
        return self.condition(node) & ~self.missing

    def condition(self, node: ast.expr) -> Bool[np.ndarray, " rows"]:
        match node:
            case ast.BoolOp(op=ast.And()):
                return np.logical_and.reduce([self.condition(part) for part in node.values])
            case ast.BoolOp(op=ast.Or()):
                return np.logical_or.reduce([self.condition(part) for part in node.values])
            case ast.UnaryOp(op=ast.Not()):
                return ~self.condition(node.operand)
            case ast.Compare():
                sides = [node.left, *node.comparators]
                pairs = zip(node.ops, sides[:-1], sides[1:], strict=True)
                return np.logical_and.reduce([self.comparison(*pair) for pair in pairs])
            case ast.Name():
                name = self.names.get(node.id, node.id)
                self.value(node)  # an unknown column is the better thing to say
                # An attribute that is absent is -1, which would count as true.
                raise self.wrong(f"{name} is compared with nothing", f'write "{name} == 1"')
        raise self.wrong(f"{ast.unparse(node)} is not a comparison", _EXAMPLE)

    def comparison(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> Bool[np.ndarray, " rows"]:
        first = self.value(left)
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.Tuple | ast.List) or not right.elts:
                raise self.wrong("in needs a list", "write it as age in (20, 30)")
            found = np.logical_or.reduce([self.same_kind(operator.eq, first, self.value(item)) for item in right.elts])
            return found if isinstance(op, ast.In) else ~found
        if type(op) not in _COMPARE:
            raise self.wrong("it compares with something other than == != < <= > >= in", _EXAMPLE)
        return self.same_kind(_COMPARE[type(op)], first, self.value(right))

    def same_kind(self, compare: Callable, first, second) -> Bool[np.ndarray, " rows"]:
        """Numbers with numbers, texts with texts: a number never equals a text, which would select nothing."""
        if _is_number(first) != _is_number(second):
            shown = [f"column {side.name}" if isinstance(side, pd.Series) else repr(side) for side in (first, second)]
            raise self.wrong(f"{shown[0]} and {shown[1]} are not both numbers", "quote texts, and only texts")
        return np.broadcast_to(np.asarray(compare(first, second), bool), len(self.table))

    def value(self, node: ast.expr):
        """A column, a number or a text."""
        match node:
            case ast.Constant(value=bool() | int() | float() | str()):
                return node.value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float())):
                return -node.operand.value  # type: ignore[attr-defined]
            case ast.Name():
                column = self.column(self.names.get(node.id, node.id))
                self.missing |= column.isna().to_numpy()
                return column
        raise self.wrong(f"{ast.unparse(node)} is not a column, a number or a quoted text", _EXAMPLE)

    def column(self, name: str) -> pd.Series:
        known = [str(column) for column in self.table.columns]
        if name not in known:
            lower = {column.lower(): column for column in known}
            near = difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.5)
            shown = ", ".join(known[:50]) + (", ..." if len(known) > 50 else "")
            remedy = f"did you mean {lower[near[0]]}?" if near else f"choose one of {shown}"
            raise self.wrong(f"there is no column {name}", remedy)
        return self.table[name]

    def wrong(self, reason: str, remedy: str) -> UserError:
        return UserError(f"bias {self.expression!r}", reason, remedy)


def _is_number(value) -> bool:
    return is_numeric_dtype(value.dtype) if isinstance(value, pd.Series) else not isinstance(value, str)
