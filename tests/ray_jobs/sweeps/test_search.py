"""Optuna's search: it learns from trials, those of an earlier part of the sweep too, and knows what is not over."""

import pytest
from ray.tune.search import Searcher

from ray_jobs.sweeps.search import OptunaSearch
from ray_jobs.sweeps.space import Space
from ray_jobs.sweeps.trial_log import Record


@pytest.fixture
def space():
    return Space.read(["alpha=fixed:{-2:2}|gnc", "num_blocks={int:1:4}"])


def objective(point):
    return 5.0 if point["alpha"] == 1 else (point["alpha.0.0"] - 1.3) ** 2 + abs(point["num_blocks.0.0"] - 3)


def run(searcher, first=0):
    """All that it suggests, with what came of it."""
    found = []
    while (config := searcher.suggest(str(first + len(found)))) != Searcher.FINISHED:
        spec = config["spec"]
        value = objective(spec["point"])
        searcher.on_trial_complete(
            str(first + len(found)), {"objective": value, "clock": 10, "finished": True, "done": True}
        )
        found.append(
            Record(trial=spec["trial"], point=spec["point"], status="finished", objective=value, history=[(10, value)])
        )
    return found


def test_it_learns_where_trials_are_good(space):
    found = run(OptunaSearch(space, [], 60, maximize=False, seed=0))
    values = [record.objective for record in found]
    assert [record.trial for record in found] == list(range(60))
    assert sum(values[40:]) / 20 < 0.5 * sum(values[:10]) / 10


def test_a_sweep_that_goes_on_remembers_and_begins_with_what_was_not_over(space):
    before = run(OptunaSearch(space, [], 40, maximize=False, seed=0))
    left = Record(trial=17, point=before[17].point, status="running", path=[{"run": "trials/017/0"}])
    records = [*before[:17], left, *before[18:]]
    searcher = OptunaSearch(space, records, 60, maximize=False, seed=0)
    first = searcher.suggest("a")["spec"]
    assert (first["trial"], first["point"], first["path"]) == (17, left.point, left.path)
    found = run(searcher)
    assert [record.trial for record in found] == list(range(40, 60))
    assert sum(record.objective for record in found) / 20 < 0.5 * sum(record.objective for record in before[:10]) / 10


def test_trials_that_failed_or_were_stopped_do_not_end_it(space):
    searcher = OptunaSearch(space, [], 3, maximize=True, seed=0)
    ids = "abc"
    for name in ids:
        searcher.suggest(name)
    searcher.on_trial_result("a", {"objective": 1.0, "clock": 5})
    searcher.on_trial_complete("a", {"objective": 1.0, "clock": 5, "done": True})
    searcher.on_trial_complete("b", {"objective": float("-inf"), "clock": 0, "reason": "nan", "done": True})
    searcher.on_trial_complete("c", error=True)
    assert searcher.suggest("d") == Searcher.FINISHED
