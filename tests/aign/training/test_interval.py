"""Two workers of different speed, one of which is told something: they meet at the same steps and hear it together."""

import time

import pytest
import torch

from aign.training import interval
from aign.training.interval import Interval
from aign.training.notice import Notice
from tests.aign.training.processes import run_workers

TOLD_AT = 12


def work(rank):
    interval.SECONDS_BETWEEN_LOOKS = 0.05
    ours, met, heard = Interval(4, 1.0, 0, {}, 0), [], Notice.NONE
    for step in range(1, 60):
        time.sleep(0.02 * rank)
        ours.add({"loss": torch.tensor(float(step + rank))})
        if ours.look_is_due:
            met.append(step)
            heard = ours.look(Notice.STOP if rank == 1 and step >= TOLD_AT else Notice.NONE)
        if heard:
            break
    return {"met": met, "heard": int(heard), "step": step, "unlogged": ours.unlogged()}


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    return run_workers(work, tmp_path_factory.mktemp("workers"))


def test_they_meet_at_the_same_steps_and_stop_together(workers):
    assert workers[0] == workers[1]
    assert workers[0]["heard"] == Notice.STOP
    assert workers[0]["met"][0] == 1
    assert workers[0]["step"] >= TOLD_AT


def test_what_is_in_no_line_yet_is_the_mean_over_workers(workers):
    sums, steps = workers[0]["unlogged"]
    assert steps == workers[0]["step"]
    assert sums == {"loss": sum(step + 0.5 for step in range(1, steps + 1))}
