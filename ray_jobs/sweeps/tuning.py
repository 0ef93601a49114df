"""Ray Tune at work on a sweep: it chooses what runs when, and what ends early; everything else is in storage."""

import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search import BasicVariantGenerator

from aign.errors import last_line
from ray_jobs.launch.ray_internals import ENV_VARS_TO_PROPAGATE
from ray_jobs.launch.signals import StopSignal
from ray_jobs.sweeps.plan import Sweep
from ray_jobs.sweeps.ranks import first_points
from ray_jobs.sweeps.search import OptunaSearch
from ray_jobs.sweeps.trial import Trial
from ray_jobs.sweeps.trial_log import Record, Status, TrialLog

TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the trial log writes what is to be kept
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # StopSignal has it
    "TUNE_RESULT_BUFFER_LENGTH": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}

SECRETS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"}
"""Tune would make them part of every trial's description, which Ray logs on each machine and shows to all who ask."""

Show = Callable[[Record], None]


def run_trials(sweep: Sweep, trials: TrialLog, show: Show, stop: StopSignal) -> None:
    """Run what is not over, to the end of the budget or until asked to stop. Ray is connected already."""
    for name, value in TUNE_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    ENV_VARS_TO_PROPAGATE.difference_update(SECRETS)  # trials have them as all processes of a cluster do
    random.seed(sweep.options.sweep_seed)  # Tune's population draws from it whom to follow
    # pointers only, and nobody resumes from them
    with tempfile.TemporaryDirectory(prefix="aign-tune-", ignore_cleanup_errors=True) as pointers:
        _tuner(sweep, trials, show, stop, pointers).fit()


def _tuner(sweep: Sweep, trials: TrialLog, show: Show, stop: StopSignal, pointers: str) -> tune.Tuner:
    specs = None if sweep.options.search == "optuna" else _specs(sweep, trials)
    return tune.Tuner(
        tune.with_resources(tune.with_parameters(Trial, sweep=sweep), _beside_this_process(sweep)),
        param_space=None if specs is None else {"spec": tune.grid_search(specs)},
        tune_config=_tune_config(sweep, trials, specs),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=pointers,
            verbose=0,
            stop=EndOfSweep(sweep.options.budget_hours, stop, trials),
            callbacks=[_Writer(trials, show)],
            failure_config=tune.FailureConfig(max_failures=0, fail_fast=False),
        ),
    )


def _specs(sweep: Sweep, trials: TrialLog) -> list[dict[str, Any]]:
    """Configs of the trials that are not over."""
    specs = []
    for trial, point in enumerate(sweep.points):
        if trials.is_over(trial):
            continue
        record = trials.records.get(trial)
        specs.append(
            {"trial": trial, "point": record.point if record else point, "path": record.path if record else []}
        )
    return specs


def _tune_config(sweep: Sweep, trials: TrialLog, specs: list[dict[str, Any]] | None) -> tune.TuneConfig:
    options = sweep.options
    searcher: Any = None
    if specs is None:
        searcher = OptunaSearch(
            sweep.space,
            trials.in_order(),
            sweep.num_trials,
            options.maximize,
            options.sweep_seed,
            options.cost,
            [] if trials.records else first_points(sweep),
        )
    elif options.scheduler != "pbt":  # a population's paused members would count, and keep others from beginning
        searcher = BasicVariantGenerator(max_concurrent=options.max_concurrent)
    return tune.TuneConfig(
        metric="objective",
        mode="max" if options.maximize else "min",
        search_alg=searcher,
        scheduler=_scheduler(sweep),
        num_samples=sum(not trials.is_over(trial) for trial in range(sweep.num_trials)) if specs is None else 1,
        max_concurrent_trials=options.max_concurrent if specs is None else None,
        reuse_actors=True,
        trial_name_creator=_name,
        trial_dirname_creator=_name,
    )


def _name(trial: Any) -> str:
    return f"{trial.config['spec']['trial']:03d}"


def _scheduler(sweep: Sweep) -> TrialScheduler:
    training = sweep.job.run.training
    if sweep.options.scheduler == "asha":
        return ASHAScheduler(time_attr="step", max_t=training.steps, grace_period=training.evaluate_every)
    if sweep.options.scheduler == "pbt":
        return Population(sweep)
    return FIFOScheduler()


class Population(PopulationBasedTraining):
    """Members that move together: all meet every so many steps, so the quicker ones have no advantage."""

    def __init__(self, sweep: Sweep) -> None:
        rng = np.random.default_rng((sweep.options.sweep_seed, sweep.num_trials))

        def explore(config: dict[str, Any]) -> dict[str, Any]:
            spec = config["spec"]
            return {"spec": {**spec, "point": sweep.space.explore(spec["point"], rng)}}

        super().__init__(
            time_attr="step",
            perturbation_interval=sweep.perturb_every,
            custom_explore_fn=explore,
            log_config=False,
            synch=True,
        )
        self._max_concurrent = sweep.options.max_concurrent

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        running = [trial for trial in tune_controller.get_trials() if trial.status == "RUNNING"]
        if not running:
            self._let_go_on(tune_controller.get_live_trials())
        return None if len(running) >= self._max_concurrent else super().choose_trial_to_run(tune_controller)

    def _let_go_on(self, waiting: list) -> None:
        """Where all wait at an exchange that nobody is to come to any more, they wait for the next.

        So it is when the last one to come has crashed, or when the sweep was resumed from beyond it.
        """
        steps = [self._trial_state[trial].last_train_time for trial in waiting]
        if steps and min(steps) >= self._next_perturbation_sync:
            self._next_perturbation_sync = max(steps) + self._perturbation_interval


class NotPickled:
    """What Tune keeps a copy of on disk, which nobody reads: the trial log has what a sweep goes on from."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class EndOfSweep(NotPickled, tune.Stopper):
    """All trials end, saved, when the budget is used up, someone asks, or no trial can go on."""

    def __init__(self, budget_hours: float | None, stop: StopSignal, trials: TrialLog) -> None:
        self._stop, self._book = stop, trials
        self._end = time.monotonic() + 3600 * budget_hours if budget_hours else None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return bool(self._stop.signum or self._book.broken) or (self._end is not None and time.monotonic() > self._end)


class _Writer(NotPickled, tune.Callback):
    """Writes what happens into the trial log and shows it."""

    def __init__(self, trials: TrialLog, show: Show) -> None:
        self._book, self._show = trials, show

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        self._book.begin(int(str(trial)), trial.config["spec"]["point"])

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        self._show(self._book.result(int(str(trial)), result))

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        status: Status = "finished" if trial.last_result.get("finished") else "stopped"
        self._show(self._book.end(int(str(trial)), status))

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        said = Path(trial.error_file).read_text()  # get_error() reads the copy, which is made later
        self._show(self._book.end(int(str(trial)), "crashed", last_line(said)))


def _beside_this_process(sweep: Sweep) -> tune.PlacementGroupFactory:
    """Trials only watch their runs, on this machine, where the pointers lie; unless they are to train themselves."""
    address = ray.util.get_node_ip_address()
    place = sweep.job.placement
    own = {"CPU": 0.0} if place.workers else place.needs
    return tune.PlacementGroupFactory([{**own, f"node:{address}": 0.0001}])
