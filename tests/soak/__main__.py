"""Many random faults against runs that are continued after each: ``python -m tests.soak [--faults N] [--seed S]``.

With ``--journal FILE`` and a store that stays, the same command goes on with the next fault. Status 1 if anything that
was committed was lost, if a run did not end as an undisturbed one, or if a fault was not taken as it should be.
"""

import argparse
import dataclasses
import os
import signal
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults import machines
from tests.faults.__main__ import add_store, folder_for_runs, store
from tests.soak.journal import End, Entry, Journal
from tests.soak.kinds import KINDS
from tests.soak.plan import Plan
from tests.soak.soaking import soak


def main(argv: Sequence[str]) -> int:
    """Soak; 0 if all was held."""
    arguments = parse(argv)
    # a shell's background ignores SIGINT, and what is started here would, too
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # whatever was started ends
    os.environ["OMP_NUM_THREADS"] = "1"  # threads that wait for each other on a busy machine are slower than one
    plan = Plan(
        seed=arguments.seed,
        count=arguments.faults,
        alone=[name for name in arguments.only if KINDS[name].alone],
        on_ray=[] if arguments.without_ray else [name for name in arguments.only if KINDS[name].on_ray],
    )
    with folder_for_runs(arguments.keep) as folder:
        prefix = f"soak-{uuid.uuid4().hex[:8]}"
        about = {**dataclasses.asdict(plan), "bucket": arguments.bucket, "prefix": prefix}
        try:
            journal = Journal(arguments.journal or folder / "journal.jsonl", about)
        except ValueError as error:
            print(error)
            return 2
        kept = journal.about["prefix"] if arguments.journal else None
        with store(arguments.store, arguments.bucket, kept) as storage:
            soak(plan, journal, storage, folder)
    return told(journal.entries, journal.ends)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    kinds = "\n".join(f"  {name:22} {kind.summary}" for name, kind in KINDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description=f"{__doc__}\nKinds:\n{kinds}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--faults", type=int, default=100, help="how many (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help="these kinds")
    parser.add_argument("--without-ray", action="store_true", help="no runs with workers")
    parser.add_argument("--journal", type=Path, help="file of what has been done; with it the store is left as it is")
    parser.add_argument("--keep", action="store_true", help="keep the folder of consoles and temporary files")
    add_store(parser, "aign-soak")
    arguments = parser.parse_args(argv)
    if "disk-full" in arguments.only and not machines.can_mount():
        print("disk-full is left out: a small disk can be mounted by root only")
        arguments.only.remove("disk-full")
    if arguments.journal and arguments.store == "moto":
        parser.error("a journal needs a store that stays: add --store URL")
    return arguments


def told(entries: Sequence[Entry], ends: Sequence[End]) -> int:
    """Print the tables; 0 if all was held."""
    Console(width=None if sys.stdout.isatty() else 120).print(table(entries))
    wrong = sum(entry.outcome in ("lost", "failed") for entry in entries)
    same = sum(not end.problems for end in ends)
    print(f"{len(entries)} faults: {sum(entry.lost for entry in entries)} committed steps lost, {wrong} not held")
    print(f"{same} of {len(ends)} runs ended as undisturbed ones")
    return int(bool(wrong or same < len(ends)))


def table(entries: Sequence[Entry]) -> Table:
    """How each kind was taken."""
    result = Table("kind", title="faults by kind", title_justify="left", title_style="")
    for column in ("faults", "held", "lost", "failed", "steps lost", "s each"):
        result.add_column(column, justify="right")
    for name in [*sorted({entry.kind for entry in entries}), "all"]:
        own = [entry for entry in entries if name in (entry.kind, "all")]
        outcomes = [entry.outcome for entry in own]
        numbers = (len(own), *(outcomes.count(outcome) for outcome in ("held", "lost", "failed")))
        seconds = sum(entry.seconds for entry in own) / max(1, len(own))
        result.add_row(name, *map(str, numbers), str(sum(entry.lost for entry in own)), f"{seconds:.0f}")
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
