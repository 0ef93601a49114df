"""What ``make soak`` rests on, and a short one against an S3 server that the tests start."""

import subprocess
import sys
from collections import Counter

import pytest

from tests.soak.journal import End, Entry, Journal
from tests.soak.kinds import KINDS
from tests.soak.plan import Plan, Shape
from tests.soak.soaking import compared


def entry(number, run="run-01", workers=0, **about):
    whole = {"kind": "killed", "outcome": "held", "lost": 0, "seconds": 1.0, "text": ""} | about
    return Entry(number=number, run=run, workers=workers, **whole)


def dealt(plan, faults_of_a_run):
    """The kinds of all faults by run, where each run is over after so many."""
    done = []
    for run in range(1, 1000):
        name, shape = f"run-{run:02d}", plan.shape(run)
        for _ in range(faults_of_a_run):
            if not (fault := plan.next(name, shape, done)):
                break
            done.append(entry(fault.number, name, shape.workers, kind=fault.kind, text=str(fault.dice.random())))
        if len(done) == plan.count:
            return done
    raise AssertionError


PLAN = Plan(seed=3, count=100, alone=["a", "b", "c", "d"], on_ray=["a", "r"])


@pytest.mark.parametrize("faults_of_a_run", [10, 3])
def test_all_kinds_come_about_as_often_and_a_share_of_them_on_ray(faults_of_a_run):
    done = dealt(PLAN, faults_of_a_run)
    assert [one.number for one in done] == list(range(1, 101))
    alone = Counter(one.kind for one in done if not one.workers)
    on_ray = Counter(one.kind for one in done if one.workers)
    assert 20 <= on_ray.total() <= 36
    assert max(alone.values()) - min(alone.values()) <= 1
    assert max(on_ray.values()) - min(on_ray.values()) <= 1
    assert dealt(PLAN, faults_of_a_run) == done
    assert dealt(Plan(seed=4, count=100, alone=PLAN.alone, on_ray=PLAN.on_ray), faults_of_a_run) != done


def test_a_soak_may_do_without_ray():
    assert {one.workers for one in dealt(Plan(seed=0, count=50, alone=["a"], on_ray=[]), 10)} == {0}


def test_a_journal_goes_on_with_what_is_not_done(tmp_path):
    about = {"seed": 3, "prefix": "first"}
    journal = Journal(tmp_path / "journal", about)
    journal.add(entry(1))
    journal.add(End(run="run-01", weights="same bits", problems=["x"]))
    again = Journal(tmp_path / "journal", {"seed": 3, "prefix": "second"})
    assert (again.entries, again.ends, again.about) == (journal.entries, journal.ends, about)
    with pytest.raises(ValueError, match="seed"):
        Journal(tmp_path / "journal", {"seed": 4, "prefix": "first"})


class Seen:
    """A run whose newest attempt is known."""

    def __init__(self, attempt, start, damaged=()):
        self.damaged = list(damaged)
        self.begun = lambda: (attempt, start)


@pytest.mark.parametrize(
    ("run", "lost"),
    [
        (Seen(1, 0), 0),  # no new attempt: it trains on
        (Seen(2, 60), 0),
        (Seen(2, 75), 0),  # it had saved later
        (Seen(2, 40), 20),
        (Seen(2, 0), 60),
        (Seen(2, 40, damaged=[60]), 0),
        (Seen(2, 20, damaged=[60]), 20),
    ],
)
def test_steps_that_were_committed_and_had_to_be_done_again_are_lost(run, lost):
    assert compared(run, 1, [60, 40])[0] == lost


def test_a_run_is_long_enough_for_its_faults():
    assert Shape(workers=0, faults=3).steps < Shape(workers=0, faults=10).steps
    assert all(kind.summary and (kind.alone or kind.on_ray) for kind in KINDS.values())


def test_a_short_soak_loses_nothing():
    words = [
        "--faults",
        "3",
        "--without-ray",
        "--store",
        "moto",
        "--only",
        "killed-before-commit",
        "sigterm",
        "flipped",
    ]
    soak = subprocess.run([sys.executable, "-m", "tests.soak", *words], capture_output=True, text=True)
    assert soak.returncode == 0, soak.stdout + soak.stderr
    assert "3 faults: 0 committed steps lost, 0 not held" in soak.stdout
    assert "1 of 1 runs ended as undisturbed ones" in soak.stdout
