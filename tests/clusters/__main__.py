"""Submitted jobs on clusters that change: ``python -m tests.clusters [--only NAME ...] [--store moto|URL]``."""

import argparse
import contextlib
import os
import secrets
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from aign.command import make_console
from tests.clusters import drills, samples
from tests.clusters.picture import draw
from tests.clusters.samples import Event, Sample
from tests.faults.__main__ import REFERENCE, add_store, folder_for_runs, new_run, perform, store
from tests.faults.drills import DRILLS, Drill, Skipped
from tests.faults.judge import Verdict
from tests.faults.run import Run, Unexpected

TIMELINE = "timeline"
PICTURE = Path("runs/autoscaling.png")
"""Of the sweep's nodes."""
Row = tuple[str, str, str, str]
Go = Callable[[Run, list[Event]], list[Row] | None]


def main(argv: Sequence[str]) -> int:
    """Run the drills; 0 if all that must hold did."""
    arguments = parse(argv)
    rows: list[Row] = []
    where = store(arguments.store, arguments.bucket)
    with where as storage, folder_for_runs(arguments.keep) as folder, own_token(folder):
        verdicts: list[Verdict] = []
        for name in arguments.only:
            if name == TIMELINE:
                verdicts += timeline(storage, folder, rows)
            else:
                verdicts.append(alone(name, OTHERS[name], storage, folder, rows))
    make_console().print(table(rows, verdicts))
    return 0 if all(verdict.passed or verdict.skipped for verdict in verdicts) else 1


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.clusters", description=(__doc__ or "").split(":")[0])
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="these drills")
    add_store(parser, "aign-clusters")
    parser.add_argument("--keep", action="store_true", help="keep the folder of consoles and temporary files")
    return parser.parse_args(argv)


@contextlib.contextmanager
def own_token(folder: Path) -> Iterator[None]:
    """Everything that starts in the block proves with a new token that it belongs together."""
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    os.environ.pop("RAY_AUTH_TOKEN", None)  # it would come before the file
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    yield


def timeline(storage: str, folder: Path, rows: list[Row]) -> list[Verdict]:
    """The drill, judged as all fault drills are: by an undisturbed run, on this machine without a cluster."""
    announce(REFERENCE, DRILLS[REFERENCE].go)
    undisturbed, reference = perform(DRILLS[REFERENCE], storage, folder / REFERENCE, None)
    announce(TIMELINE, drills.timeline)
    seen: list[Event] = []
    drill = Drill(name=TIMELINE, summary="", go=partial(drills.timeline, seen=seen))
    verdict, _ = perform(drill, storage, folder / drill.name, reference)
    rows += events(TIMELINE, seen)
    return [undisturbed, verdict]


def alone(name: str, go: Go, storage: str, folder: Path, rows: list[Row]) -> Verdict:
    """A drill that judges itself; what the others saw must be told whatever happens to it."""
    announce(name, go)
    seen: list[Event] = []
    found: list[Row] = []
    with new_run(name, storage, folder / name) as run:
        try:
            found = go(run, seen) or []
        except Skipped as reason:
            return Verdict(name=name, notes=[str(reason)], skipped=True)
        except Unexpected as problem:
            run.problems.append(str(problem))
        except Exception as error:
            traceback.print_exc()
            run.problems.append(f"{type(error).__name__}: {error}")
        rows += events(name, seen) + found
        return Verdict(name=name, problems=run.problems, notes=run.notes)


def sweep(run: Run, seen: list[Event]) -> list[Row]:
    """From no nodes: two trials at a time until all are over, and the nodes go; what they did is drawn."""
    taken = drills.sweep(run, seen)
    draw(taken, seen, PICTURE)
    run.notes.append(f"drawn: {PICTURE}")
    return figures(taken)


def gauges(run: Run, seen: list[Event]) -> list[Row]:
    """A run on a cluster that Prometheus watches: the newest value of each gauge that it has collected."""
    return [("gauges", name, "", ", ".join(values)) for name, values in drills.gauges(run).items()]


OTHERS: dict[str, Go] = {"sweep": sweep, "by-name": drills.by_name, "hosts": drills.host_cut_off, "gauges": gauges}
"""Those that judge themselves."""
NAMES = (TIMELINE, *OTHERS)


def announce(name: str, go: Any) -> None:
    """What a drill does, by its docstring."""
    print(f"{name}: {(go.__doc__ or '').strip()}", flush=True)


def events(drill: str, seen: Sequence[Event]) -> list[Row]:
    """When each was, from the first on, and how long after the one before."""
    times = [event.time - seen[0].time for event in seen]
    return [
        (drill, event.what, f"{time:.1f}", f"{time - before:.1f}" if before is not None else "")
        for event, time, before in zip(seen, times, [None, *times], strict=False)
    ]


def figures(taken: Sequence[Sample]) -> list[Row]:
    """What a sweep's nodes were used for."""
    paid, busy = samples.node_seconds(taken), samples.busy_seconds(taken)
    values = {
        "node-seconds": paid,
        "busy worker-seconds": busy,
        "idle tail, to the last node": samples.idle_tail(taken),
    }
    rows = [("sweep", name, "", f"{value:.1f}") for name, value in values.items()]
    return [*rows, ("sweep", "utilisation", "", f"{busy / paid:.0%}")]


def table(rows: Sequence[Row], verdicts: Sequence[Verdict]) -> Table:
    result = Table("drill", "", "at, s", "seconds")
    for row in rows:
        result.add_row(*row)
    for v in verdicts:
        remarks = [f"weights: {v.weights}", f"metrics: {v.metrics}", f"steps lost: {v.lost}"] if v.lost else []
        how = "skipped" if v.skipped else "[green]passed[/]" if v.passed else "[red]FAILED[/]"
        result.add_row(v.name, "; ".join([*v.problems, *v.notes, *remarks]), "", how)
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
