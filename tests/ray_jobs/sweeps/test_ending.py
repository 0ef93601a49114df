"""How trials and sweeps end: only what values did counts as failed; what broke around them ends the sweep, open."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from aign.errors import NotTrainable, UserError
from aign.storage.errors import StoreAway
from ray_jobs.launch.signals import StopSignal
from ray_jobs.storage.attempts import AlreadyRuns, Superseded
from ray_jobs.storage.spool import Spool
from ray_jobs.sweep import check_end
from ray_jobs.sweeps import tuning
from ray_jobs.sweeps.plan import plan
from ray_jobs.sweeps.trial import Trial
from ray_jobs.sweeps.trial_log import Record, TrialLog, read_records
from ray_jobs.sweeps.tuning import EndOfSweep
from ray_jobs.worker.stopped import Stopped

RUN = ["--steps", "100", "--evaluate-every", "20", "--checkpoint-every", "20", "--workers", "0"]
ENVIRONMENT = [
    UserError("s3://bucket", "credentials refused", "renew them"),
    Superseded("run", "attempt 2 goes on", "follow it"),
    AlreadyRuns("run", "runs already", "wait"),
    StoreAway("s3://bucket", "no answer", "wait"),
    OSError(28, "No space left on device"),
]


@pytest.fixture
def sweep(tmp_path):
    argv = ["--space", "alpha=fixed:1|gnc", "--search", "grid", "--storage", str(tmp_path), "--name", "s"]
    return plan(["pose", *argv, *RUN])


@pytest.fixture
def trials(sweep):
    trials = TrialLog(sweep, print)
    yield trials
    trials.close()


@pytest.fixture
def step(sweep, monkeypatch):
    """What the first step of the first trial returns when its run raises an error."""

    def step(error):
        def launch(*_):
            raise error

        monkeypatch.setattr("ray_jobs.sweeps.trial.launch", launch)
        monkeypatch.setattr("ray_jobs.sweeps.trial.SECONDS_TO_STOP", 0.0)
        trial = Trial.__new__(Trial)
        trial.sweep = sweep
        trial._trial_info = type("Info", (), {"trial_name": "000"})()
        trial._take({"spec": {"trial": 0, "point": {"alpha": 0}, "path": []}})
        return trial.step()

    return step


def test_values_that_cannot_be_trained_are_failed_for_good(step, trials):
    result = step(NotTrainable("loss term", "is nan at step 3", "lower the learning rates"))
    trials.begin(0, {"alpha": 0})
    record = trials.result(0, result)
    assert (record.status, record.is_over, trials.broken) == ("failed", True, "")


@pytest.mark.parametrize("error", ENVIRONMENT, ids=lambda error: type(error).__name__)
def test_what_broke_around_a_trial_ends_the_sweep_and_leaves_the_trial_open(error, step, trials, sweep):
    trials.begin(0, {"alpha": 0})
    trials.result(0, step(error))
    record = trials.end(0, "stopped")
    assert (record.status, record.is_over) == ("crashed", False)
    assert trials.broken == str(error)
    assert EndOfSweep(None, StopSignal(), trials).stop_all()
    with pytest.raises(RuntimeError):
        check_end(sweep, trials, None)


def test_a_store_that_refuses_the_logs_own_files_ends_the_sweep(trials, sweep, monkeypatch):
    def refuse(*_, **how):
        raise UserError("spool", "no room", "make room")

    monkeypatch.setattr(Spool, "put", refuse)
    trials.begin(0, {"alpha": 0})
    assert trials.broken
    assert EndOfSweep(None, StopSignal(), trials).stop_all()


def test_a_command_that_another_host_has_superseded_ends_and_writes_nothing_more(sweep, monkeypatch, tmp_path):
    older = TrialLog(sweep, print)
    older.begin(0, {"alpha": 0})
    monkeypatch.setenv("AIGN_SPOOL", str(tmp_path / "another host"))
    newer = TrialLog(sweep, print)
    newer.begin(0, {"alpha": 0})
    newer.result(0, {"objective": 1.0, "step": 40, "clock": 40})
    newer.close()
    written = sweep.folder.read("trials/000/trial.json")
    older.end(0, "stopped")
    older.close()
    assert sweep.folder.read("trials/000/trial.json") == written
    assert sweep.folder.name in older.broken
    assert EndOfSweep(None, StopSignal(), older).stop_all()
    assert not newer.broken


def test_options_are_compared_again_when_the_sweep_is_taken_over(sweep):
    other = plan([*sweep.argv, "--space", "alpha=fixed:1|fixed:2", "--search", "grid"])
    assert other.folder == sweep.folder
    other.check_existing()
    TrialLog(sweep, print).close()
    with pytest.raises(UserError):
        TrialLog(other, print)
    assert json.loads(sweep.folder.read("sweep.json"))["space"] == sweep.space.to_json()


def end_with(trials, sweep, *statuses, signum=None):
    trials.records = {i: Record(trial=i, point={}, status=status) for i, status in enumerate(statuses)}
    check_end(sweep, trials, signum)


@pytest.mark.parametrize("statuses", [("failed", "failed"), ("finished", "crashed"), ("finished",)])
def test_a_sweep_that_did_not_come_to_a_good_end_does_not_end_with_status_0(statuses, trials, sweep):
    with pytest.raises(RuntimeError):
        end_with(trials, sweep, *statuses)


@pytest.mark.parametrize("statuses", [("finished", "finished"), ("finished", "failed"), ("finished", "stopped")])
def test_a_sweep_that_did_does(statuses, trials, sweep):
    end_with(trials, sweep, *statuses)


def test_a_sweep_that_was_asked_to_stop_says_that(trials, sweep):
    with pytest.raises(Stopped):
        end_with(trials, sweep, "finished", "running", signum=15)


@pytest.mark.parametrize("damage", [b"", b"null", b"{not json", b'{"trial": "x", "point": {}}', b"\xff"])
def test_one_damaged_record_is_said_and_its_trial_tried_again(damage, sweep):
    whole = Record(trial=1, point={"alpha": 1}, status="finished", objective=1.0, history=[(20, 1.0)])
    sweep.folder.write("trials/000/trial.json", damage)
    sweep.folder.write("trials/001/trial.json", json.dumps(asdict(whole)).encode())
    said = []
    assert read_records(sweep.folder, said.append) == [whole]
    assert len(said) == 1
    assert "trials/000" in str(said[0].value)


def test_nothing_of_tune_stays_on_this_machine(sweep, monkeypatch):
    monkeypatch.setattr(tuning, "TUNE_ENVIRONMENT", {})
    folders = []

    def fail(sweep, trials, show, stop, pointers):
        folders.append(Path(pointers))
        assert folders[0].is_dir()
        raise OSError("no room")

    monkeypatch.setattr(tuning, "_tuner", fail)
    with pytest.raises(OSError, match="no room"):
        tuning.run_trials(sweep, None, print, StopSignal())
    assert not folders[0].exists()
