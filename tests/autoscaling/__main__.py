"""Jobs on a cluster that Ray's autoscaler grows from nothing: ``python -m tests.autoscaling [--only NAME]``."""

import argparse
import contextlib
import os
import secrets
import sys
import traceback
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from rich.table import Table

from aign.command import make_console
from tests.autoscaling import drills, samples
from tests.autoscaling.picture import draw
from tests.autoscaling.samples import Event, Sample
from tests.faults.__main__ import REFERENCE, folder_for_runs, new_run, perform, store
from tests.faults.drills import DRILLS, Drill
from tests.faults.judge import Verdict
from tests.faults.run import Unexpected

NAMES = ("timeline", "sweep")
Row = tuple[str, str, str, str]


def main(argv: Sequence[str]) -> int:
    """Run the drills; 0 if all that must hold did."""
    arguments = parse(argv)
    rows: list[Row] = []
    verdicts: list[Verdict] = []
    with store("moto", "aign-autoscaling") as storage, folder_for_runs(arguments.keep) as folder, own_token(folder):
        if "timeline" in arguments.only:
            verdicts += timeline(storage, folder, rows)
        if "sweep" in arguments.only:
            verdicts.append(sweep(storage, folder, rows, arguments.picture))
    make_console().print(table(rows, verdicts))
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.autoscaling", description=(__doc__ or "").split(":")[0])
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="these drills")
    parser.add_argument("--keep", action="store_true", help="keep the folder of consoles and temporary files")
    parser.add_argument(
        "--picture", type=Path, default=Path("runs/autoscaling.png"), help="where the sweep's nodes are drawn"
    )
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
    announce(REFERENCE, DRILLS[REFERENCE].summary)
    undisturbed, reference = perform(DRILLS[REFERENCE], storage, folder / REFERENCE, None)
    announce("timeline", drills.timeline.__doc__)
    seen: list[Event] = []
    drill = Drill(name="timeline", summary="", go=partial(drills.timeline, seen=seen))
    verdict, _ = perform(drill, storage, folder / drill.name, reference)
    rows += events("timeline", seen)
    return [undisturbed, verdict]


def sweep(storage: str, folder: Path, rows: list[Row], picture: Path) -> Verdict:
    """The drill; what its nodes did is drawn."""
    announce("sweep", drills.sweep.__doc__)
    seen: list[Event] = []
    with new_run("sweep", storage, folder / "sweep") as run:
        try:
            taken = drills.sweep(run, seen)
            rows += events("sweep", seen) + figures(taken)
            draw(taken, seen, picture)
            run.notes.append(f"drawn: {picture}")
        except Unexpected as problem:
            run.problems.append(str(problem))
        except Exception as error:  # what the other drill saw must be told
            traceback.print_exc()
            run.problems.append(f"{type(error).__name__}: {error}")
        return Verdict(name="sweep", problems=run.problems, notes=run.notes)


def announce(name: str, summary: str | None) -> None:
    print(f"{name}: {summary}", flush=True)


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
        how = "[green]passed[/]" if v.passed else "[red]FAILED[/]"
        result.add_row(v.name, "; ".join([*v.problems, *v.notes, *remarks]), "", how)
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
