"""How a comparison of several runs ends when one of them does not come to its end."""

import threading
from types import SimpleNamespace

import pytest

from aign.errors import NotTrainable, UserError
from aign.storage.store import Store
from ray_jobs import compare
from ray_jobs.compare import Options, plan, run_arms
from ray_jobs.worker.stopped import Stopped

RUN = ["pose", "--workers", "0", "--name", "c"]


@pytest.fixture
def arms(tmp_path):
    return plan(Options(presets=("aign",), seeds=(0, 1, 2)), [*RUN, "--storage", str(tmp_path)])


@pytest.fixture
def launched(monkeypatch):
    """Names of the runs that were begun; what becomes of each stands in ``ends``, by its seed."""
    launched = SimpleNamespace(names=[], ends={})

    def launch(job, show, stop):
        if stop.signum:
            raise Stopped("before it started", stop.signum)
        launched.names.append(job.name)
        end = launched.ends.get(job.run.training.seed)
        if end:
            end(stop)

    monkeypatch.setattr(compare, "launch", launch)
    return launched


def raising(error):
    def end(stop):
        raise error

    return end


def test_what_broke_around_a_run_ends_all_and_begins_no_other(arms, launched):
    begun = threading.Event()

    def wait_to_be_stopped(stop):
        begun.set()
        while not stop.signum:
            begun.wait(0.01)
        raise Stopped("saved", stop.signum)

    def refused(stop):
        begun.wait()
        raise UserError("s3://bucket", "credentials refused", "renew them")

    launched.ends = {0: refused, 1: wait_to_be_stopped}
    with pytest.raises(UserError) as ended:
        run_arms(arms, 2)
    assert ended.value.value == "s3://bucket"
    assert launched.names == [arm.job.name for arm in arms[:2]]


def test_other_values_are_trained_where_some_cannot_be(arms, launched):
    launched.ends = {0: raising(NotTrainable("loss", "is nan", "lower the learning rates"))}
    with pytest.raises(NotTrainable):
        run_arms(arms, 1)
    assert len(launched.names) == len(arms)


def test_results_that_have_not_arrived_are_no_assertion(arms, launched):
    with pytest.raises(RuntimeError):
        run_arms(arms, 1)
    assert Store(arms[0].job.folder.uri).names() == []


@pytest.mark.parametrize("argv", [["--concurrent", "0"], ["--seeds"]])
def test_counts_of_nothing_are_refused(argv, refused, tmp_path):
    assert argv[0].lstrip("-") in refused(compare.command, *RUN, "--storage", tmp_path, *argv)
