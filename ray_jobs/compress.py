"""Compress a run's network: ``python -m ray_jobs.compress RUN --ranks ... | --flops 0.5 | --latency 0.4 [options]``."""

from rich.table import Table

from aign.compression.task import COSTS
from aign.evaluation.result import readable
from aign.storage.store import Store
from ray_jobs.cli.compress_options import layers_table, parse_compression
from ray_jobs.cli.console import run_command
from ray_jobs.cli.display import Bars
from ray_jobs.cli.preflight import check, say_dry
from ray_jobs.launch.signals import StopSignal
from ray_jobs.launch.start import launch
from ray_jobs.reports.estimate import estimate, to_do
from ray_jobs.runs.compression_rounds import parts_before
from ray_jobs.runs.folder import finished_export, read_export, read_results
from ray_jobs.runs.job import Job


def command(argv: list[str]) -> None:
    """Parse, check, run what is not finished; ``--dry-run`` stops after the checks."""
    parsed = parse_compression(argv)
    job = check(parsed.job)
    if parsed.what.dry_run:
        cost = estimate(to_do(job), parsed.what.like, parsed.what.price_per_worker_hour)
        say_dry(job.to_json(), f"write {job.folder.uri}", cost)
        return
    with Bars() as bars, StopSignal() as stop:
        assert job.run.compression is not None
        bars.console.print(layers_table(job.run.compression))
        for part in [*parts_before(job), job]:
            view = bars.run(part.name, part.run.training.steps, f"{part.name}: ")
            if finished_export(part) is None:
                launch(part, view.show, stop)
    done = read_results(job)
    view.evaluation = dict(done["test"])
    view.report()
    bars.console.print(comparison(job, done["test"]["metrics"]))
    bars.say(f"run: {job.folder.uri}")


def comparison(job: Job, after: dict[str, float]) -> Table:
    """The source's metrics beside those of what it was compressed to."""
    assert job.run.compression is not None
    source = job.run.compression.source.rpartition("@")[0]
    export = read_export(Store(source))
    before = export["test"]["metrics"] if export else {}
    table = Table(title=f"{source}, compressed", title_justify="left", title_style="")
    for column in ("metric", "before", "after"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name, value in after.items():
        first = 100.0 if name in COSTS else before.get(name)
        table.add_row(name, "" if first is None else readable(first), readable(value))
    return table


if __name__ == "__main__":
    run_command(command)
