"""Malformed inputs by the hundreds: ``python -m tests.fuzz [--cases N] [--seed S] [--only CATEGORY ...] [--case ID]``.

Named cases that once were faults come first, then seeded ones, shared among the categories. Every case runs in a forked
child with little memory. Status 1 if one of them ended in a fault.
"""

import argparse
import itertools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table

from tests.fuzz import guard, images, keypoints, motion, options, places, runs, spaces, sweeps, tables, world
from tests.fuzz.case import Field, Lay, Outcome
from tests.fuzz.guard import Heard

MODULES = (keypoints, images, tables, motion, runs, sweeps, spaces, options, places)
FIELDS: Mapping[str, Field] = {name: field for module in MODULES for name, field in module.FIELDS.items()}


def main(argv: Sequence[str]) -> int:
    """Run the cases; 1 if one of them ended in a fault."""
    arguments = parse(argv)
    with tempfile.TemporaryDirectory(prefix="aign-fuzz-world-") as folder:
        guard.warm()
        guard.quietly(world.build, Path(folder))
        if arguments.case is not None:
            return repeat(arguments.only[0], arguments.case, arguments.seed)
        began = time.monotonic()
        heard = {case: _told(case, guard.run(lay)) for case, lay in cases(arguments)}
    _console().print(counts(heard))
    print(f"{len(heard)} cases, seed {arguments.seed}, {time.monotonic() - began:.0f} s")
    return int(any(one.outcome.is_fault for one in heard.values()))


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="how many, at most half of them named (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the seeded ones (default: 0)")
    parser.add_argument("--only", nargs="+", choices=FIELDS, default=list(FIELDS), metavar="CATEGORY", help="these")
    parser.add_argument("--case", help="of one category: a name or a number, which is run and shown with its traceback")
    arguments = parser.parse_args(argv)
    if arguments.case is not None and len(arguments.only) != 1:
        parser.error("--case needs one category: add --only CATEGORY")
    return arguments


Case = tuple[str, str]
"""Category, and the name of a case in its corpus or the number of a seeded one."""


def cases(arguments: argparse.Namespace) -> Iterator[tuple[Case, Lay]]:
    """Named cases of every category in turn, then seeded ones of every category in turn."""
    fields = {name: FIELDS[name] for name in arguments.only}
    named = [[((name, case), lay) for case, lay in field.corpus.items()] for name, field in fields.items()]
    seeded = (((name, str(i)), find(name, str(i), arguments.seed)) for i in itertools.count() for name in fields)
    in_turn = (case for row in itertools.zip_longest(*named) for case in row if case is not None)
    named_first = itertools.chain(itertools.islice(in_turn, (arguments.cases + 1) // 2), seeded)
    return itertools.islice(named_first, arguments.cases)


def find(category: str, case: str, seed: int) -> Lay:
    """A case by its name, or its number."""
    field = FIELDS[category]
    if case in field.corpus:
        return field.corpus[case]
    return partial(field.draw, Random(f"{seed}/{category}/{case}"))


def repeat(category: str, case: str, seed: int) -> int:
    """Run one case and show all of it."""
    heard = guard.run(find(category, case, seed), show=True)
    print(heard.traceback, heard.shown, _line((category, case), heard), sep="\n")
    return int(heard.outcome.is_fault)


def _told(case: Case, heard: Heard) -> Heard:
    if heard.outcome.is_fault:
        print(_line(case, heard), flush=True)
    return heard


def _line(case: Case, heard: Heard) -> str:
    category, name = case
    return f"{heard.outcome}: --only {category} --case {name!r}\n    {heard.said[:400]}"


def counts(heard: Mapping[Case, Heard]) -> Table:
    """How many cases of each category ended how."""
    table = Table("category", title="cases by outcome", title_justify="left", title_style="")
    columns = [
        outcome for outcome in Outcome if not outcome.is_fault or any(h.outcome is outcome for h in heard.values())
    ]
    for column in ("cases", *columns, "CPU s"):
        table.add_column(column, justify="right")
    categories = list(dict.fromkeys(category for category, _ in heard))
    for name in [*categories, "all"]:
        own = [one for (category, _), one in heard.items() if name in (category, "all")]
        number = Counter(one.outcome for one in own)
        seconds = sum(one.seconds for one in own)
        table.add_row(name, str(len(own)), *(str(number[outcome]) for outcome in columns), f"{seconds:.0f}")
    return table


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 200)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
