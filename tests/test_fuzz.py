"""The harness of ``python -m tests.fuzz``: it sees each way in which a case can end."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from aign.errors import UserError
from tests.fuzz import guard
from tests.fuzz.__main__ import FIELDS, find, parse
from tests.fuzz.case import Call, Outcome


def ending(run, laid=(), **about):
    """How a case ends that does this."""

    def lay(folder):
        for name in laid:
            (folder / name).write_text("before")
        return Call(run=lambda: run(folder), shown="a case of a test", **about)

    return guard.run(lay).outcome


def refuse(folder):
    raise UserError("x = 1", "less than two", "give 2")


def write(name, then=lambda folder: None):
    def run(folder):
        (folder / name).write_text("after")
        then(folder)

    return run


def spin(folder):
    while True:
        pass


def user_error(reason):
    def run(folder):
        raise UserError("x", reason, "give 2")

    return run


@pytest.mark.parametrize(
    ("run", "about", "outcome"),
    [
        (lambda folder: None, {}, Outcome.ACCEPTED),
        (lambda folder: None, {"nonsense": True}, Outcome.TAKEN),
        (refuse, {}, Outcome.REFUSED),
        (refuse, {"sound": True}, Outcome.SPOILT),
        (lambda folder: 1 / 0, {}, Outcome.TRACEBACK),
        (lambda folder: os.abort(), {}, Outcome.TRACEBACK),
        (user_error("'NoneType' object is not iterable"), {}, Outcome.RAW),
        (user_error("not readable ('task')"), {}, Outcome.RAW),
        (lambda folder: print("motion.py:88: UserWarning: odd", file=sys.stderr), {}, Outcome.RAW),
        (write("new"), {}, Outcome.ACCEPTED),
        (write("new", refuse), {}, Outcome.CHANGED),
        (write("new", refuse), {"traces": ("new",)}, Outcome.REFUSED),
        (write("new.partial"), {}, Outcome.CHANGED),
        (write("old"), {}, Outcome.CHANGED),
        (write("old"), {"results": ("old",)}, Outcome.ACCEPTED),
        (write("old", refuse), {"results": ("old",)}, Outcome.CHANGED),
        (lambda folder: guard.canary(folder).touch(), {"nonsense": True}, Outcome.RAN_CODE),
    ],
)
def test_the_end_of_a_case_is_seen(run, about, outcome):
    assert ending(run, laid=("old",), **about) == outcome


@pytest.mark.parametrize("run", [spin, lambda folder: time.sleep(3600)])
def test_what_hangs_is_ended(run, monkeypatch):
    monkeypatch.setattr(guard, "CPU_SECONDS", 1)
    monkeypatch.setattr(guard, "IDLE_SECONDS", 1)
    assert ending(run) == Outcome.HANG


def test_what_a_case_starts_ends_with_it(tmp_path):
    def run(folder):
        child = os.fork()
        if not child:
            time.sleep(3600)
        (tmp_path / "child").write_text(str(child))

    assert ending(run) == Outcome.ACCEPTED
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 60
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("category", FIELDS)
def test_a_seeded_case_is_the_same_again(category, tmp_path):
    if category in ("keypoints", "images", "config", "checkpoints", "metrics", "sweeps", "places"):
        pytest.skip("begins with stored runs, which only the command makes")
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        call = find(category, "7", seed=3)(tmp_path / name)
        found.append((call.shown, guard.snapshot(tmp_path / name)))
    assert found[0] == found[1]


def test_one_case_needs_its_category():
    with pytest.raises(SystemExit):
        parse(["--case", "7"])


def test_a_hundred_cases_end_as_they_should():
    """In a process of its own: it keeps Ray from starting, and much else."""
    words = [sys.executable, "-m", "tests.fuzz", "--cases", "100"]
    fuzz = subprocess.run(words, capture_output=True, text=True)
    assert fuzz.returncode == 0, fuzz.stdout + fuzz.stderr
    assert "100 cases, seed 0" in fuzz.stdout
