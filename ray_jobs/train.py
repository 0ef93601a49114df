"""Train a task: ``python -m ray_jobs.train TASK [--preset NAME] [options]``."""

from ray_jobs.cli.console import run_command
from ray_jobs.cli.display import Bars
from ray_jobs.cli.options import parse
from ray_jobs.cli.preflight import check, say_dry
from ray_jobs.launch.signals import StopSignal
from ray_jobs.launch.start import launch
from ray_jobs.reports.estimate import estimate, to_do
from ray_jobs.runs.folder import finished_export
from ray_jobs.storage.waiting_room import waits_here
from ray_jobs.worker.best_effort import harmless


def command(argv: list[str]) -> None:
    """Parse, check, run what is not finished; ``--dry-run`` stops after the checks."""
    parsed = parse(argv)
    job = check(parsed.job)
    if parsed.what.dry_run:
        cost = estimate(to_do(job), parsed.what.like, parsed.what.price_per_worker_hour)
        say_dry(job.to_json(), f"write {job.folder.uri}", cost)
        return
    done = None if waits_here(job.folder) else finished_export(job)
    with Bars() as bars:
        view = bars.run(job.name, job.run.training.steps)
        if done:
            bars.say(f"{job.name} has finished already, after {done['progress'].step} steps")
            view.evaluation = dict(done["test"])
        else:
            with StopSignal() as stop:
                launch(job, view.show, stop)
    harmless("the summary", view.report, bars.say)()
    bars.say(f"run: {job.folder.uri}")


if __name__ == "__main__":
    run_command(command)
