"""What a sweep is: a job, a space of some of its options, how the space is searched and what decides."""

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from typing_extensions import TypedDict

from aign.errors import NotTrainable, UserError
from aign.options import Seed, Steps, absolute
from aign.storage.store import Store
from aign.stored import read_json
from aign.training.run_config import RunConfig, StoredRunConfig, find_task
from ray_jobs.cli import compress_options
from ray_jobs.cli import options as train_options
from ray_jobs.cli.options import DryRun, places_in, spelling, split_option, split_options
from ray_jobs.cli.preflight import check_engine
from ray_jobs.runs.folder import differences, read_export
from ray_jobs.runs.job import Job, Placement
from ray_jobs.sweeps.space import Point, Space

COMPRESS = "compress"
SWEEP_FILE = "sweep.json"
RANDOM_TRIALS = 16
MOST_TRIALS = 10_000
"""Ray Tune holds all of them at once."""


class StoredSweep(TypedDict):
    """SWEEP/sweep.json, as ``Sweep.to_json`` makes it."""

    sweep: dict[str, Any]
    space: dict[str, list[str]]
    run: StoredRunConfig
    trials: int | None
    argv: list[str]


@dataclass(frozen=True, kw_only=True)
class Options(DryRun):
    """What is searched, and how."""

    space: tuple[str, ...] = ()
    """Options to search: 'alpha=fixed:{-2:2}|linear:2:0|gnc' 'generator_lr={log:1e-4:1e-2}' 'seed=0|1|2'. Alternatives
    stand between |, ranges in braces: {LOW:HIGH}, {log:LOW:HIGH} or {int:LOW:HIGH}."""
    space_file: Path | None = None
    """TOML file with more of them: alpha = ["fixed:{-2:2}", "gnc"]."""
    search: Literal["random", "grid", "optuna"] = "random"
    """random; grid: every combination of alternatives; optuna: where earlier trials were good (TPE)."""
    scheduler: Literal["none", "asha", "pbt"] = "none"
    """asha: a trial among the worse at an evaluation ends there; pbt: a population of trials, of which the worst go on
    with the weights of the best and numbers near theirs, so that numbers follow a path."""
    trials: Annotated[int, Ge(1), Le(MOST_TRIALS)] | None = None
    """How many. Default: 16; with --search grid all."""
    max_concurrent: Annotated[int, Ge(1), Le(1000)] = 1
    """Trials at a time; each has --workers workers."""
    metric: str | None = None
    """What decides, one of the task's metrics on the validation split. Default: the task's objective. Never a loss:
    those of different alpha cannot be compared."""
    maximize: bool = False
    """Larger is better."""
    cost: str | None = None
    """A second metric, of which less is better, such as macs_percent: the report shows what is best at each cost."""
    budget_hours: Annotated[float, Gt(0), Le(10**6)] | None = None
    """Then running trials are saved and the sweep ends; the same command with a larger budget goes on."""
    sweep_seed: Seed = 0
    """Decides which points are tried."""
    perturb_every: Steps | None = None
    """Steps between the exchanges of --scheduler pbt. Default: --evaluate-every."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scheduler == "pbt" and self.search != "random":
            raise UserError(f"search = {self.search}", "a population begins at random points", "leave --search out")
        if self.cost is not None and self.scheduler != "none":
            reason = "a trial that is worse in one way may be better in the other"
            raise UserError(f"scheduler = {self.scheduler} with a cost", reason, "leave one of them out")
        if self.perturb_every is not None and self.scheduler != "pbt":
            raise UserError(f"perturb_every = {self.perturb_every}", "no effect", "add --scheduler pbt")


CHANGEABLE = (
    *("trials", "max_concurrent", "budget_hours", "space", "space_file"),
    *(field.name for field in dataclasses.fields(DryRun)),
)
"""Options that may differ when a sweep goes on; the space itself is compared as it was read."""
NOT_SEARCHED = {
    "from",
    "init_from",
    *(field.name for kind in (Placement, DryRun) for field in dataclasses.fields(kind)),
}
"""Options of a run that decide none of its numbers, and where it begins, which is the same for all trials."""
SHARED = ("sweep", "space", "run")
"""What may not, in sweep.json."""


@dataclass(frozen=True)
class Sweep:
    """A sweep that has been planned."""

    options: Options
    space: Space
    job: Job
    """The run that every trial is, but for the options searched; its name is the sweep's."""
    argv: tuple[str, ...]
    """The command line of that run: task and options."""

    @property
    def folder(self) -> Store:
        return self.job.folder

    def with_job(self, job: Job) -> "Sweep":
        """With the job as it was after all checks."""
        return dataclasses.replace(self, job=job)

    @property
    def metric(self) -> str:
        return self.options.metric or find_task(self.job.run.task).selection_metric

    @property
    def perturb_every(self) -> int:
        return self.options.perturb_every or self.job.run.training.evaluate_every

    @cached_property
    def points(self) -> list[Point]:
        """Where a random or grid search looks, by trial."""
        if self.options.search == "grid":
            if self.options.trials is None and MOST_TRIALS < self.space.size < math.inf:
                reason = f"has {self.space.size:,} combinations, more than {MOST_TRIALS:,}, which one sweep holds"
                raise UserError("--search grid", reason, "add --trials, or search random")
            return self.space.grid(self.options.trials or MOST_TRIALS)
        return self.space.samples(self.options.sweep_seed, self.options.trials or RANDOM_TRIALS)

    @property
    def num_trials(self) -> int:
        return self.options.trials or RANDOM_TRIALS if self.options.search == "optuna" else len(self.points)

    def trial_job(self, run: str, values: Mapping[str, str]) -> Job:
        """The job of a trial; ``run`` is its folder in the sweep's. Raises NotTrainable for values that cannot be."""
        if self.argv[:1] == (COMPRESS,):
            compress_options.opened(self.argv[1])  # a run that cannot be read now is no fault of the values
        try:
            job = read_job([*self.argv, *as_arguments(values)])
            job.run.check_batch(job.placement.workers.most)
            check_engine(job)
        except UserError as error:
            raise NotTrainable(error.value, error.reason, error.remedy) from None
        if job.placement.device == "auto":
            job = job.on(self.job.placement.device)
        return dataclasses.replace(
            job, name=f"{self.job.name}/{run}", run=dataclasses.replace(job.run, init_from=self.job.run.init_from)
        )

    def corners(self) -> Iterator[tuple[str, Job]]:
        """Each option at each of its alternatives and at the ends of its ranges, the others at their middles.

        Gives the option's name and the job. Raises UserError for a value that cannot be.
        """
        middle = self.space.middle()
        for name, alternatives in self.space.options.items():
            for value in (corner for alternative in alternatives for corner in alternative.corners):
                yield name, self.trial_job("trials/check", middle | {name: value})

    def measured(self, evaluation: Mapping[str, Any]) -> dict[str, Any]:
        """What an evaluation, as JSON, says of a trial. Raises UserError if the metric is not measured."""
        metrics = evaluation["metrics"]
        for option, name in (("metric", self.metric), ("cost", self.options.cost)):
            if name and name not in metrics:
                raise UserError(f"--{option} {name}", "is not measured", f"choose one of {', '.join(metrics)}")
        return {
            "objective": metrics[self.metric],
            "metrics": metrics,
            "measured_on": {key: evaluation[key] for key in ("data", "split", "num_samples", "notes")},
        }

    def at_the_end(self, run: str) -> dict[str, Any] | None:
        """What the export of a trial's run says of it; None before the run's end."""
        export = read_export(self.folder / run)
        if export is None:
            return None
        return {
            **self.measured(export["validation"]),
            "step": export["progress"].step,
            "clock": export["progress"].clock,
        }

    def command(self, values: Mapping[str, str]) -> str:
        """The command that repeats a trial as a run of its own."""
        verb = [] if self.argv[:1] == (COMPRESS,) else ["train"]
        return " ".join(["aign", *verb, *_quoted(split_option("--name", self.argv)[1]), *_quoted(as_arguments(values))])

    def to_json(self) -> dict[str, Any]:
        """What sweep.json holds: everything that two parts of a sweep must share, and how this part was called."""
        options = {k: v for k, v in dataclasses.asdict(self.options).items() if k not in CHANGEABLE}
        shared = {"sweep": options, "space": self.space.to_json(), "run": self.job.run.to_json()}
        return {**shared, "trials": self.options.trials, "argv": list(self.argv)}

    @classmethod
    def stored(cls, folder: Store) -> "Sweep":
        """A sweep as its folder tells of it, to read its results. Raises UserError if it does not tell enough."""
        try:
            where = f"{folder.uri}/{SWEEP_FILE}"
            found = read_json(folder.read(SWEEP_FILE), where, StoredSweep, "give the sweep's command again: it goes on")
            options = Options(**found["sweep"], trials=found["trials"])
            run = RunConfig.from_json(found["run"], where)
            job = Job(run=run, placement=Placement(storage=folder.uri.removesuffix(folder.name)), name=folder.name)
            return cls(options, Space(found["space"]), job, tuple(found["argv"]))
        except (KeyError, TypeError) as error:
            remedy = "give the sweep's command again: it goes on"
            raise UserError(f"{folder.uri}/{SWEEP_FILE}", "has other options than this version", remedy) from error

    @property
    def recipe(self) -> dict[str, Any]:
        """What its results depend on, as JSON."""
        return self._recipe(self.to_json(), self.job.run)

    def _recipe(self, stored: Mapping[str, Any], run: RunConfig) -> dict[str, Any]:
        """The same of sweep.json and the run in it; a scheduler looks at evaluations, so it matters when they are."""
        looks = {"evaluate_every": run.training.evaluate_every} if self.options.scheduler != "none" else {}
        own = {"sweep": stored["sweep"], "space": stored["space"]}
        return json.loads(json.dumps({**own, "run": {**run.recipe(), "steps": run.training.steps, **looks}}))

    def check_existing(self, claimed: Sequence[Mapping[str, Any]] = ()) -> None:
        """Raises UserError if storage has another sweep of this name, or one with another recipe is beginning."""
        for recipe in claimed:
            self._check_same(recipe)
        with contextlib.suppress(FileNotFoundError):
            where = f"{self.folder.uri}/{SWEEP_FILE}"
            stored = read_json(self.folder.read(SWEEP_FILE), where, StoredSweep, "use another --name")
            self._check_same(self._recipe(stored, RunConfig.from_json(stored["run"], where)))

    def _check_same(self, before: Mapping[str, Any]) -> None:
        now = self.recipe
        if any(before.get(part) != now[part] for part in SHARED):
            parts = (differences(before.get(part, {}), {**before.get(part, {}), **now[part]}) for part in SHARED)
            differing = "; ".join(part for part in parts if part) or "options were added or left out"
            reason = f"is a sweep with other options ({differing})"
            raise UserError(self.folder.uri, reason, "use the same options or another --name")


def plan(argv: Sequence[str]) -> Sweep:
    """A sweep from its command line. Raises UserError for what cannot be.

    Trials are runs, ``TASK [options]``, or compressions of one, ``compress RUN [options]``.
    """
    options, rest = split_options(Options, argv, "aign sweep TASK")
    rest = _anywhere(rest)
    space = Space.read(options.space, options.space_file)
    for name in space.options.keys() & NOT_SEARCHED:
        raise UserError(spelling(name), "cannot be searched: no result depends on it", "leave it out of the space")
    of_sizes = rest[:1] == [COMPRESS]  # which have no default, so one of those searched takes its place
    job = read_job([*rest, *as_arguments(space.middle())] if of_sizes else rest)
    for name in space.options:
        if any(word.split("=")[0] == spelling(name) for word in rest):
            raise UserError(spelling(name), "is both fixed and searched", "leave one of them out")
    if not job.placement.name:
        job = dataclasses.replace(job, name=job.name.replace(f"-{job.run.preset}-", "-sweep-"))
    sweep = Sweep(options, space, job, tuple(rest))
    _check_population(sweep)
    for _ in sweep.corners():
        pass
    _ = sweep.points
    return sweep


def _anywhere(argv: Sequence[str]) -> list[str]:
    """The arguments with all places as they are called in any folder: trials stand in others."""
    given = list(argv)
    if given[:1] == [COMPRESS]:
        given[1:2] = map(absolute, given[1:2])
    for option, place in places_in(given).items():
        given = [*split_option(option, given)[1], option, absolute(place)]
    return given


def read_job(argv: Sequence[str]) -> Job:
    """A job from ``TASK [options]`` or ``compress RUN [options]``. Raises UserError for what cannot be."""
    if list(argv[:1]) == [COMPRESS]:
        return compress_options.parse_compression(argv[1:]).job
    return train_options.parse(argv, "sweep").job


def trial_folder(trial: int) -> str:
    """Where all that is a trial's lies, in the sweep's folder."""
    return f"trials/{trial:03d}"


def as_arguments(values: Mapping[str, str]) -> list[str]:
    """Options on a command line; a value of several words is several arguments."""
    arguments = []
    for name, value in values.items():
        words = value.split()
        arguments += [f"{spelling(name)}={value}"] if len(words) == 1 else [spelling(name), *words]
    return arguments


def _check_population(sweep: Sweep) -> None:
    if sweep.options.scheduler != "pbt":
        return
    for name, alternatives in sweep.space.options.items():
        if len(alternatives) > 1:
            reason = "members of a population exchange weights, so they differ in numbers only"
            raise UserError(f"{name} = {'|'.join(a.spelling for a in alternatives)}", reason, "give one, with a range")
    if not sweep.space.ranges:
        raise UserError("--scheduler pbt", "there is no number to explore", "add a range: 'alpha=fixed:{-2:2}'")
    training = sweep.job.run.training
    for name in ("evaluate_every", "checkpoint_every"):
        if sweep.perturb_every % getattr(training, name):
            reason = f"is not a multiple of {name} = {getattr(training, name)}"
            raise UserError(f"perturb_every = {sweep.perturb_every}", reason, f"change one of them ({spelling(name)})")


def _quoted(words: Sequence[str]) -> list[str]:
    return [f"'{word}'" if set(word) & set(" |{}$*;&<>()") else word for word in words]
