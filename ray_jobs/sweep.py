"""Search options of a task: ``python -m ray_jobs.sweep TASK --space 'alpha=fixed:{-2:2}|gnc' [options]``.

All other options are those of ``train`` and hold for every trial. The same command goes on where it was stopped.
"""

from ray_jobs.console import Bars, run_command
from ray_jobs.launch import start_ray
from ray_jobs.preflight import check, say_dry
from ray_jobs.stopping import Stopped, StopSignal
from ray_jobs.sweeps.book import Book, Record
from ray_jobs.sweeps.checks import check_trials
from ray_jobs.sweeps.cost import estimated
from ray_jobs.sweeps.plan import Sweep, plan
from ray_jobs.sweeps.report import write_report
from ray_jobs.sweeps.results import front, line, ranked, repeating, summary_table


def command(argv: list[str]) -> None:
    """Parse, check, run the trials that are not over, report; ``--dry-run`` stops after the checks."""
    sweep = plan(argv)
    sweep = sweep.with_job(check(sweep.job))
    sweep.check_existing()
    check_trials(sweep)
    if sweep.options.dry_run:
        trials = f"{sweep.num_trials} trials, {sweep.options.max_concurrent} at a time"
        say_dry(sweep.to_json(), f"run {trials}, and write {sweep.folder.uri}", estimated(sweep))
        return
    with StopSignal() as stop, Bars() as bars:
        book = run(sweep, stop, bars)
        _report(sweep, book, bars)
    to_go = sum(not book.is_over(trial) for trial in range(sweep.num_trials))
    if to_go and stop.signum:
        raise Stopped(f"{sweep.job.name} stopped with {to_go} of {sweep.num_trials} trials to go", stop.signum)


def run(sweep: Sweep, stop: StopSignal, bars: Bars) -> Book:
    """Run what is not over; the table and the report are written however it ends."""
    from ray_jobs.sweeps.tuning import run_trials  # slow to import

    book = Book(sweep, bars.say)
    row = bars.progress.add_task(sweep.job.name, total=sweep.num_trials, stage="trials")

    def show(record: Record) -> None:
        bars.progress.update(row, completed=sum(record.is_over for record in book.records.values()))
        bars.say(line(sweep, record))

    try:
        book.find_finished()
        if not all(book.is_over(trial) for trial in range(sweep.num_trials)):
            start_ray(sweep.job, num_jobs=sweep.options.max_concurrent)
            run_trials(sweep, book, show, stop)
    finally:
        write_report(sweep, book.in_order(), book.put)
        book.close()
    return book


def _report(sweep: Sweep, book: Book, bars: Bars) -> None:
    records = book.in_order()
    bars.console.print(summary_table(sweep, records))
    for record in front(sweep, records):
        bars.say(f"best at {sweep.options.cost} {record.metrics[sweep.options.cost or '']:.4g}: {line(sweep, record)}")
    for best in ranked(sweep, records)[:1]:
        bars.say(f"best: trial {best.trial:03d}, {sweep.folder.uri}/{best.run}")
        bars.say(f"again: {repeating(sweep, best)}")
    for record in records:
        if record.status == "failed":
            bars.say(f"trial {record.trial:03d} failed: {record.reason}")
        if record.status == "crashed":
            bars.say(f"trial {record.trial:03d} crashed: {record.reason}; the same command tries it again")
    bars.say(f"report: {sweep.folder.uri}/report.html")


if __name__ == "__main__":
    run_command(command)
