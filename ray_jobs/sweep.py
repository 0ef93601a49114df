"""Search options of a task: ``python -m ray_jobs.sweep TASK --space 'alpha=fixed:{-2:2}|gnc' [options]``.

All other options are those of ``train`` and hold for every trial. The same command goes on where it was stopped.
"""

from ray_jobs.cli.console import run_command
from ray_jobs.cli.display import Bars, evaluation_table
from ray_jobs.cli.preflight import check, say_dry
from ray_jobs.launch.devices import with_device
from ray_jobs.launch.ray_environment import check_ray
from ray_jobs.launch.signals import StopSignal
from ray_jobs.launch.start import start_ray
from ray_jobs.sweeps.checks import check_trials
from ray_jobs.sweeps.cost import estimated
from ray_jobs.sweeps.plan import Sweep, plan
from ray_jobs.sweeps.report import write_report
from ray_jobs.sweeps.results import front, line, ranked, repeating, summary_table, tested
from ray_jobs.sweeps.trial_log import Record, TrialLog
from ray_jobs.worker.best_effort import harmless
from ray_jobs.worker.stopped import Stopped

AGAIN = "the same command goes on from there"


def command(argv: list[str]) -> None:
    """Parse, check, run the trials that are not over, report; ``--dry-run`` stops after the checks."""
    sweep = plan(argv)
    check_ray()  # whatever its trials have for workers, Ray Tune runs them
    sweep = sweep.with_job(check(sweep.job))
    sweep.check_existing()
    check_trials(sweep)
    if sweep.options.dry_run:
        planned = f"{sweep.num_trials} trials, {sweep.options.max_concurrent} at a time"
        say_dry(sweep.to_json(), f"run {planned}, and write {sweep.folder.uri}", estimated(sweep))
        return
    with StopSignal() as stop, Bars() as bars:
        trials = run(sweep, stop, bars)
        harmless("the summary", _report, bars.say)(sweep, trials, bars)
    check_end(sweep, trials, stop.signum)


def check_end(sweep: Sweep, trials: TrialLog, signum: int | None) -> None:
    """Raises Stopped for a sweep that was asked to stop, and RuntimeError for one that did not come to its end."""
    name, planned = sweep.job.name, sweep.num_trials
    to_go = sum(not trials.is_over(trial) for trial in range(planned))
    if to_go and signum and not trials.broken:
        raise Stopped(f"{name} stopped with {to_go} of {planned} trials to go", signum)
    if trials.broken:
        raise RuntimeError(f"{name} ended with {to_go} of {planned} trials to go: {trials.broken}; {AGAIN}")
    records = trials.in_order()
    crashed = [record for record in records if record.status == "crashed"]
    if crashed:
        reason = f"trial {crashed[0].trial:03d}: {crashed[0].reason}"
        raise RuntimeError(f"{name}: {len(crashed)} of {planned} trials crashed ({reason}); {AGAIN}")
    if to_go and sweep.options.budget_hours is None:
        raise RuntimeError(f"{name} ended with {to_go} of {planned} trials to go; {AGAIN}")
    if records and all(record.status == "failed" for record in records):
        raise RuntimeError(f"{name}: none of {planned} trials can be trained; trial 000: {records[0].reason}")


def run(sweep: Sweep, stop: StopSignal, bars: Bars) -> TrialLog:
    """Run what is not over; the table and the report are written however it ends."""
    from ray_jobs.sweeps.tuning import run_trials  # slow to import

    trials = TrialLog(sweep, bars.say)
    row = bars.progress.add_task(sweep.job.name, total=sweep.num_trials, stage="trials")

    def tell(record: Record) -> None:
        bars.progress.update(row, completed=sum(record.is_over for record in trials.records.values()))
        bars.say(line(sweep, record))

    try:
        trials.find_finished()
        if not all(trials.is_over(trial) for trial in range(sweep.num_trials)):
            start_ray(sweep.job, stop, num_jobs=sweep.options.max_concurrent)
            job, known = with_device(sweep.job)
            for text in known:
                bars.say(text)
            run_trials(sweep.with_job(job), trials, harmless("the console", tell), stop)
    finally:
        again = f"the report, which aign report {sweep.folder.uri} writes again,"
        harmless(again, write_report, bars.say)(sweep, trials.in_order(), trials.put)
        trials.close()
    return trials


def _report(sweep: Sweep, trials: TrialLog, bars: Bars) -> None:
    records = trials.in_order()
    bars.console.print(summary_table(sweep, records))
    for record in front(sweep, records):
        bars.say(f"best at {sweep.options.cost} {record.metrics[sweep.options.cost or '']:.4g}: {line(sweep, record)}")
    for best in ranked(sweep, records)[:1]:
        bars.say(f"best: trial {best.trial:03d}, {sweep.folder.uri}/{best.run}")
        if test := tested(sweep, best):
            bars.console.print(evaluation_table(test))
        bars.say(f"again: {repeating(sweep, best)}")
    for record in records:
        if record.status == "failed":
            bars.say(f"trial {record.trial:03d} failed: {record.reason}")
        if record.status == "crashed":
            bars.say(f"trial {record.trial:03d} crashed: {record.reason}; the same command tries it again")
    bars.say(f"report: {sweep.folder.uri}/report.html")


if __name__ == "__main__":
    run_command(command)
