"""A page of a run, of several or of a sweep in storage: ``python -m ray_jobs.report RUN|PREFIX|SWEEP [--out FILE]``.

It only reads, from the same storage that runs write to, and needs no cluster; of a run that still runs it shows what
there is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from aign.errors import UserError
from aign.storage.store import Store
from ray_jobs.cli.console import run_command
from ray_jobs.cli.options import Price, parse_verb
from ray_jobs.cli.outputs import FileOption, OutputFile
from ray_jobs.reports.comparison_page import comparison_page
from ray_jobs.reports.history import Skipped
from ray_jobs.reports.run_page import MOST_EXAMPLES, run_page
from ray_jobs.reports.stored import StoredRun, read_run
from ray_jobs.sweeps.cost import spent
from ray_jobs.sweeps.plan import SWEEP_FILE, Sweep
from ray_jobs.sweeps.report import drawn, sweep_page
from ray_jobs.sweeps.trial_log import read_records


@dataclass(frozen=True, kw_only=True)
class Options(Price):
    """Make one HTML page, with pictures in it, of a run, of several runs beside each other, or of a sweep."""

    folder: Annotated[str, tyro.conf.Positional]
    """Folder of a run, of several runs, or of a sweep: a local path or s3:// URI."""
    out: FileOption = OutputFile("report.html")
    """File that the page is written to: a local path or s3:// URI."""


def command(argv: list[str]) -> None:
    options = parse_verb(Options, argv, "aign report")
    options.out.check()
    skipped: Skipped = []
    page = make_page(Store(options.folder), options.price_per_worker_hour, skipped)
    options.out.write(page.encode())
    if skipped:
        examples = "; ".join(f"{error.value} {error.reason}" for error in skipped[:MOST_EXAMPLES])
        print(f"left out, as it cannot be read: {len(skipped)}, such as {examples}")
    print(f"report: {options.out}")


def make_page(folder: Store, price: float | None, skipped: Skipped) -> str:
    """The page that fits what the folder is; what cannot be read of it is left out and put into ``skipped``.

    Raises UserError if the folder is neither a run, nor a sweep, nor has runs in it.
    """
    if folder.exists("config.json"):
        return _page_of_run(read_run(folder), price, skipped)
    if folder.exists(SWEEP_FILE):
        sweep, records = Sweep.stored(folder), read_records(folder, skipped.append)
        return sweep_page(sweep, records, drawn(sweep, records), spent(folder), price, skipped)
    children = folder.names()
    sweeps = [child for child in children if _holds(folder / child, SWEEP_FILE, skipped)]
    runs = _read_runs([folder / child for child in children], skipped)
    if not runs:
        remedy = f"report on one of its sweeps ({', '.join(sweeps)})" if sweeps else "give the folder a command printed"
        damaged = f" that can be read ({skipped[0].value} {skipped[0].reason})" if skipped else ""
        raise UserError(folder.uri, f"is neither a run, nor a sweep, nor a folder with runs in it{damaged}", remedy)
    if len(runs) == 1 and not skipped:
        return _page_of_run(runs[0], price, skipped)
    note = f"Sweeps in the same folder are not part of this page: {', '.join(sweeps)}." if sweeps else ""
    unread = list(skipped)
    page = comparison_page(folder.name, runs, price, note, unread)
    skipped += [error for run in runs for error in run.skipped]
    return page


def _page_of_run(run: StoredRun, price: float | None, skipped: Skipped) -> str:
    page = run_page(run, price)
    skipped += run.skipped
    return page


def _read_runs(folders: Sequence[Store], skipped: Skipped) -> list[StoredRun]:
    found = []
    for folder in folders:
        try:
            if _holds(folder, "config.json", skipped):
                found.append(read_run(folder))
        except UserError as error:
            skipped.append(error)
    return found


def _holds(folder: Store, name: str, skipped: Skipped) -> bool:
    try:
        return folder.exists(name)
    except UserError as error:  # a folder that is not ours to read
        skipped.append(error)
        return False


if __name__ == "__main__":
    run_command(command)
