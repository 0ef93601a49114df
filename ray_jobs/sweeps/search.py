"""Optuna's tree-structured Parzen estimator over a space, as a searcher of Ray Tune that remembers earlier trials."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from ray_jobs.sweeps.space import Point, Range, Space
from ray_jobs.sweeps.trial_log import Record, StoredSegment


class OptunaSearch(Searcher):
    """Suggests the config of a Trial. Trials that a scheduler ended early count as pruned, not as that good.

    With a ``cost``, the name of a metric, it looks for what is best at each cost. The ``first`` points are tried first.
    """

    def __init__(
        self,
        space: Space,
        records: Iterable[Record],
        num_trials: int,
        maximize: bool,
        seed: int,
        cost: str | None = None,
        first: Sequence[Point] = (),
    ) -> None:
        super().__init__(metric="objective", mode="max" if maximize else "min")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        records = sorted(records, key=lambda record: record.trial)
        self._space = space
        # with as many random trials as when it began, but other ones than those it has seen
        sampler = optuna.samplers.TPESampler(seed=seed + len(records))
        self._cost = cost
        less, more = optuna.study.StudyDirection.MINIMIZE, optuna.study.StudyDirection.MAXIMIZE
        directions = [more if maximize else less, *([less] if cost else [])]
        self._study = optuna.create_study(directions=directions, sampler=sampler)
        over = [record for record in records if record.is_over]
        for record in over:
            self._remember(record)
        self._left = deque(record for record in records if not record.is_over)
        taken = {record.trial for record in records}
        self._new = deque(trial for trial in range(num_trials) if trial not in taken)
        self._asked: dict[str, optuna.Trial] = {}
        self._first = deque(zip(self._new, first, strict=False))

    def suggest(self, trial_id: str) -> Any:
        if self._left:
            record = self._left.popleft()
            self._study.enqueue_trial(dict(record.point))
            return self._config(trial_id, record.trial, record.path)
        if self._new:
            trial = self._new.popleft()
            if self._first and self._first[0][0] == trial:
                self._study.enqueue_trial(dict(self._first.popleft()[1]))
            return self._config(trial_id, trial, [])
        return Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if trial_id in self._asked and not result.keys() & {"reason", "broken"} and self._cost is None:
            self._asked[trial_id].report(result["objective"], result["clock"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        trial = self._asked.pop(trial_id, None)
        if trial is None:
            return
        if error or result is None or result.keys() & {"reason", "broken"}:
            self._study.tell(trial, state=TrialState.FAIL)
        elif result.get("done") and result.get("finished"):
            costs = [result[f"metrics/{self._cost}"]] if self._cost else []  # Tune has made one level of it
            self._study.tell(trial, [result["objective"], *costs])
        else:
            self._study.tell(trial, state=TrialState.PRUNED)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune keeps a copy on disk, which nobody reads

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the trial log has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the trial log has it all."""

    def _config(self, trial_id: str, trial: int, path: list[StoredSegment]) -> dict[str, Any]:
        self._asked[trial_id] = asked = self._study.ask()
        return {"spec": {"trial": trial, "point": self._suggest(asked), "path": path}}

    def _values(self, record: Record) -> list[float]:
        return [record.objective or 0.0, *([record.metrics[self._cost]] if self._cost else [])]

    def _suggest(self, trial: optuna.Trial) -> Point:
        point: Point = {}
        for name, alternatives in self._space.options.items():
            point[name] = trial.suggest_categorical(name, list(range(len(alternatives))))
        for name in self._space.own_ranges(point):
            point[name] = _suggest_number(trial, name, self._space.ranges[name])
        return point

    def _remember(self, record: Record) -> None:
        distributions = {
            name: optuna.distributions.CategoricalDistribution(range(len(alternatives)))
            for name, alternatives in self._space.options.items()
        } | {name: _distribution(self._space.ranges[name]) for name in self._space.own_ranges(record.point)}
        state = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED}.get(record.status, TrialState.FAIL)
        self._study.add_trial(
            optuna.trial.create_trial(
                params=dict(record.point),
                distributions=distributions,
                values=self._values(record) if state == TrialState.COMPLETE else None,
                state=state,
                intermediate_values={} if self._cost else {int(clock): value for clock, value in record.history},
            )
        )


def _suggest_number(trial: optuna.Trial, name: str, where: Range) -> float | int:
    if where.kind == "int":
        return trial.suggest_int(name, int(where.low), int(where.high))
    return where.clipped(trial.suggest_float(name, where.low, where.high, log=where.kind == "log"))


def _distribution(where: Range) -> optuna.distributions.BaseDistribution:
    if where.kind == "int":
        return optuna.distributions.IntDistribution(int(where.low), int(where.high))
    return optuna.distributions.FloatDistribution(where.low, where.high, log=where.kind == "log")
