"""A page of a run, of several or of a sweep in storage: ``python -m ray_jobs.report RUN|PREFIX|SWEEP [--out FILE]``.

It only reads, from the same storage that runs write to, and needs no cluster; of a run that still runs it shows what
there is.
"""

from dataclasses import dataclass
from typing import Annotated

import tyro

from aign.errors import UserError
from ray_jobs.console import run_command
from ray_jobs.options import Price, parse_verb
from ray_jobs.outputs import FileOption, OutputFile
from ray_jobs.reports.comparison_page import comparison_page
from ray_jobs.reports.run_page import run_page
from ray_jobs.reports.stored import read_run
from ray_jobs.storage import Store
from ray_jobs.sweeps.book import read_records
from ray_jobs.sweeps.cost import spent
from ray_jobs.sweeps.plan import SWEEP_FILE, Sweep
from ray_jobs.sweeps.report import drawn, sweep_page


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
    page = make_page(Store(options.folder), options.price_per_worker_hour)
    options.out.write(page.encode())
    print(f"report: {options.out}")


def make_page(folder: Store, price: float | None) -> str:
    """The page that fits what the folder is. Raises UserError if it is neither of the three."""
    if folder.exists("config.json"):
        return run_page(read_run(folder), price)
    if folder.exists(SWEEP_FILE):
        sweep, records = Sweep.stored(folder), read_records(folder)
        return sweep_page(sweep, records, drawn(sweep, records), spent(folder), price)
    children = folder.names()
    runs = [read_run(folder / child) for child in children if folder.exists(f"{child}/config.json")]
    sweeps = [child for child in children if folder.exists(f"{child}/{SWEEP_FILE}")]
    if not runs:
        remedy = f"report on one of its sweeps ({', '.join(sweeps)})" if sweeps else "give the folder a command printed"
        raise UserError(folder.uri, "is neither a run, nor a sweep, nor a folder with runs in it", remedy)
    if len(runs) == 1:
        return run_page(runs[0], price)
    note = f"Sweeps in the same folder are not part of this page: {', '.join(sweeps)}." if sweeps else ""
    return comparison_page(folder.name, runs, price, note)


if __name__ == "__main__":
    run_command(command)
