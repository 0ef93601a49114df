"""A run's folder read back: how it stands, what it cost, which pictures."""

import json
import time

import pytest

from ray_jobs.reports.stored import duration, read_run


def test_cost_is_the_time_of_every_worker_and_a_worker_that_is_cut_off_counts_to_its_last_line(interrupted):
    run = read_run(interrupted)
    assert run.cost.worker_hours == pytest.approx((36 * 2 + 72) / 3600)
    assert run.cost.gpu_hours == pytest.approx(72 / 3600)
    assert [attempt.ended for attempt in run.attempts] == [False, True]
    assert [(attempt.start_step, attempt.last_step) for attempt in run.attempts] == [(0, 30), (20, 40)]


def test_an_attempt_that_ended_before_it_trained_takes_nothing_from_the_history(interrupted):
    before = read_run(interrupted).history
    record = {"workers": 1, "device": "cpu", "zero_stage": 1, "began": 1.0, "ended": 2.0, "status": "stopped"}
    interrupted.write("attempts/003.json", json.dumps(record).encode())
    run = read_run(interrupted)
    assert run.history == before
    assert (run.attempts[-1].start_step, run.attempts[-1].last_step) == (None, None)


@pytest.mark.parametrize(
    ("record", "silence", "finished", "word"),
    [
        ({}, 20, False, "running"),
        ({}, 5000, False, "silent"),
        ({"ended": 0.0}, 20, False, "stopped"),
        ({"ended": 0.0}, 20, True, "finished"),
    ],
)
def test_it_says_how_a_run_stands(record, silence, finished, word, tmp_path, write_run, logged):
    line = logged(10, 1.0, at=time.time() - silence)
    run = read_run(write_run(tmp_path / "run", ({"began": 0.0, **record}, [line]), finished=finished))
    assert run.status()[0] == word
    assert "step" in run.status()[1]


def test_a_run_whose_workers_have_not_started_is_not_begun(tmp_path, write_run):
    assert read_run(write_run(tmp_path / "run")).status()[0] == "not begun"


@pytest.mark.parametrize(
    ("most", "expected"), [(1, [70]), (2, [10, 70]), (3, [10, 40, 70]), (9, [10, 20, 30, 40, 50, 60, 70])]
)
def test_pictures_are_the_last_the_first_and_some_in_between(most, expected, tmp_path, write_run):
    run = read_run(write_run(tmp_path / "run", pictures=range(10, 80, 10)))
    assert [step for step, _ in run.pictures(most)] == expected


def test_a_run_without_pictures_has_none(tmp_path, write_run):
    assert read_run(write_run(tmp_path / "run")).pictures(6) == []


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (200000, "2 d 7 h")],
)
def test_durations_are_said_in_two_units(seconds, said):
    assert duration(seconds) == said
