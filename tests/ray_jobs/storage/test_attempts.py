"""Two writers on one run: the newer attempt goes on, the older one ends and leaves what is not its own alone."""

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from aign.errors import UserError
from aign.storage.store import Store
from ray_jobs import train
from ray_jobs.runs.checkpoints import checkpoint_steps
from ray_jobs.storage import spool_entries
from ray_jobs.storage.attempts import AlreadyRuns, Attempt, Superseded, attempt_numbers
from ray_jobs.storage.spool import Spool

WAIT_S = 300


@pytest.fixture(params=["local", "s3"])
def run(request, tmp_path):
    """A run's folder."""
    if request.param == "local":
        return Store(tmp_path / "run")
    return Store(request.getfixturevalue("object_store").bucket) / tmp_path.name


@pytest.fixture
def begin(run, tmp_path):
    """Begins another attempt at the run, on a machine of its own; gives it and its spool."""
    spools = []

    def begin():
        spool = Spool(run, tmp_path / f"machine-{len(spools)}", lambda text: None)
        attempt = Attempt.take(run, {}, lambda claimed: None, {})
        spool.begin(attempt)
        spools.append(spool)
        return attempt, spool

    return begin


@pytest.fixture
def checkpoint(tmp_path):
    """Puts a checkpoint of step 20 into a spool."""

    def checkpoint(spool, text):
        folder = tmp_path / "checkpoint"
        folder.mkdir()
        for name in ("weights", "state.json"):
            (folder / name).write_text(text)
        spool.put_folder(folder, "checkpoints/step_0000020", last="state.json")

    return checkpoint


def test_attempts_count(run, begin):
    assert [begin()[0].number for _ in range(3)] == [1, 2, 3]
    assert run.names("attempts") == ["001.json", "002.json", "003.json"]


@pytest.mark.parametrize("what", ["checkpoint", "removal"])
def test_the_older_attempt_changes_no_checkpoint_of_the_newer_and_ends(what, run, begin, checkpoint):
    older, newer = begin()[1], begin()[1]
    checkpoint(newer, "newer")
    assert newer.flush(WAIT_S)
    if what == "checkpoint":
        checkpoint(older, "older")
    else:
        older.remove("checkpoints/step_0000020")
    assert not older.flush(WAIT_S)
    with pytest.raises(Superseded, match="attempt 2 goes on with this run, so attempt 1 ends"):
        older.put("metrics/001-000009.jsonl", b"")
    with pytest.raises(Superseded):
        older.close(WAIT_S)
    assert older.num_waiting == 0
    assert {run.read(f"checkpoints/step_0000020/{name}") for name in ("weights", "state.json")} == {b"newer"}
    newer.close(WAIT_S)


def test_what_is_on_its_way_when_a_newer_attempt_begins_is_not_committed(run, begin, checkpoint, monkeypatch):
    _, older = begin()
    upload = Store.upload

    def upload_slowly(store, local_file, path):
        upload(store, local_file, path)
        if path.endswith("weights"):
            run.write("attempts/002.json", b"{}")

    monkeypatch.setattr(Store, "upload", upload_slowly)
    checkpoint(older, "older")
    with pytest.raises(Superseded):
        older.close(WAIT_S)
    assert checkpoint_steps(run) == []


# --- two that begin at once ------------------------------------------------------------------------------------------


def refuse_others(recipe):
    """As a run does, of which nothing is stored yet."""

    def check(claimed):
        if any(other != recipe for other in claimed):
            raise UserError("run", "was started with other options", "use the same")

    return check


def taking(run, seed):
    try:
        return Attempt.take(run, {"seed": seed}, refuse_others({"seed": seed}), {"seed": seed})
    except UserError as refused:
        return refused


@pytest.mark.parametrize("turn", range(4))
def test_of_many_that_begin_at_once_each_has_its_number(run, turn):
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: taking(run, 0), range(4)))
    attempts = [attempt for attempt in taken if isinstance(attempt, Attempt)]
    assert all(isinstance(other, Superseded) for other in taken if other not in attempts)
    assert attempts
    assert len({attempt.number for attempt in attempts}) == len(attempts)
    assert attempt_numbers(run) == sorted(attempt.number for attempt in attempts)


@pytest.mark.parametrize("turn", range(4))
def test_of_two_with_other_options_that_begin_at_once_one_goes_on(run, turn):
    with ThreadPoolExecutor(2) as pool:
        taken = list(pool.map(lambda seed: taking(run, seed), (0, 1)))
    (attempt,) = [one for one in taken if isinstance(one, Attempt)]
    assert attempt_numbers(run) == [attempt.number]
    attempt.check_newest(run)  # the other one has not been in its way
    assert json.loads(run.read(attempt.path))["seed"] == taken.index(attempt)


@pytest.mark.parametrize("rival", ["same number", "higher number"])
def test_a_number_that_another_has_by_now_is_not_kept(run, rival, monkeypatch):
    """The other one has listed the attempts before this one claimed, and writes after it."""
    write, rivals = Store.write, []

    def write_both(store, path, data):
        write(store, path, data)
        if path.startswith("claims/001") and not rivals:
            rivals.append(f"claims/{1 if rival == 'same number' else 2:03d}-{'0' * 32}")
            write(store, rivals[0], b'{"seed": 0}')

    monkeypatch.setattr(Store, "write", write_both)
    taken = taking(run, 0)
    if rival == "same number":
        assert taken.number == 2
    else:
        assert isinstance(taken, Superseded)
        assert run.names("claims") == [rivals[0].removeprefix("claims/")]


def test_an_attempt_that_is_refused_leaves_nothing_and_disturbs_nobody(run, begin, checkpoint):
    older, spool = begin()
    run.write("config.json", b"{}")

    def refuse(claimed):
        raise UserError("run", "was started with other options", "use the same")

    with pytest.raises(UserError):
        Attempt.take(run, {"seed": 1}, refuse, {})
    assert attempt_numbers(run) == [older.number]
    checkpoint(spool, "older")
    spool.close(WAIT_S)
    assert checkpoint_steps(run) == [20]


def test_strange_files_among_attempts_are_passed_over(run, begin):
    run.write("attempts/abc.json", b"?")
    run.write("attempts/7.json", b"?")
    run.write("claims/notes.txt", b"?")
    assert begin()[0].number == 1


def test_a_file_that_only_the_newest_may_write(run, begin):
    older, newer = begin()[1], begin()[1]
    newer.put("trial.json", b"newer", fenced=True)
    newer.close(WAIT_S)
    older.put("trial.json", b"older", fenced=True)
    with pytest.raises(Superseded):
        older.close(WAIT_S)
    assert run.read("trial.json") == b"newer"


# --- what an overtaken attempt does ----------------------------------------------------------------------------------


def test_what_an_overtaken_attempt_left_behind_is_left_out(run, begin, checkpoint, tmp_path, monkeypatch):
    """A machine comes back after the run has gone on elsewhere."""
    with monkeypatch.context() as patch:
        patch.setattr(spool_entries.Entries, "send", lambda *_: time.sleep(WAIT_S))
        left = Spool(run, tmp_path / "left", lambda text: None)
        left.begin(Attempt(1))
        left.put("metrics/001-000000.jsonl", b"measured")
        checkpoint(left, "left")
        left.close(0)
    run.write("attempts/002.json", b"{}")
    said = []
    Spool(run, tmp_path / "left", said.append).close(WAIT_S)
    assert run.read("metrics/001-000000.jsonl") == b"measured"
    assert not run.exists("checkpoints")
    assert "checkpoints/step_0000020 is left out" in said[-1]


HOLDS = """
import sys, time
from pathlib import Path
from ray_jobs.storage.spool import Spool
from aign.storage.store import Store
spool = Spool(Store(sys.argv[1]), Path(sys.argv[2]), print)
print("holds", flush=True)
time.sleep(600)
"""


def test_two_processes_of_one_machine_do_not_share_a_waiting_room(tmp_path, monkeypatch):
    monkeypatch.setattr(spool_entries, "_SECONDS_FOR_A_PREDECESSOR", 0.1)
    argv = [sys.executable, "-c", HOLDS, str(tmp_path / "run"), str(tmp_path / "room")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"holds\n"
        with pytest.raises(AlreadyRuns, match="another process of this machine"):
            Spool(Store(tmp_path / "run"), tmp_path / "room", print)
        other.kill()
    Spool(Store(tmp_path / "run"), tmp_path / "room", print).close(WAIT_S)


def test_a_run_that_a_newer_attempt_takes_over_ends_in_one_line(tmp_path, tiny_argv, refused):
    run = tmp_path / "run"

    def take_over():
        while not checkpoint_steps(Store(run)):
            time.sleep(0.02)
        Store(run).write("attempts/002.json", b"{}")

    threading.Thread(target=take_over, daemon=True).start()
    endless = ["--steps", "100000", "--evaluate-every", "100000", "--workers", "0", "--device", "cpu"]
    said = refused(train.command, "pose", *tiny_argv, *endless, "--storage", tmp_path, "--name", "run")
    assert "attempt 2 goes on with this run, so attempt 1 ends" in said
    assert not (run / "export").exists()
    assert json.loads((run / "attempts/001.json").read_text())["status"] == "superseded"
