"""What only tells may fail: whoever listens, work goes on to its end, and so does its status."""

import errno
import io
import json
import os
import signal
import subprocess
import sys

import pytest

from aign.storage.store import Store
from ray_jobs.cli.options import parse
from ray_jobs.launch.start import launch
from ray_jobs.runs.checkpoints import checkpoint_steps
from ray_jobs.worker.best_effort import harmless, streams_that_hold
from ray_jobs.worker.events import Message

PATIENCE_S = 300  # on a machine that is busy with other things
ENDLESS = ("--steps", "1000000", "--log-every", "100", "--checkpoint-every", "1000000", "--evaluate-every", "1000000")
TINY = ("--width", "32", "--num-blocks", "1", "--batch-size", "16", "--workers", "0")


@pytest.fixture
def lost(monkeypatch):
    """Standard output whose every write fails with an errno."""

    def lost(number):
        class Full(io.RawIOBase):
            def writable(self):
                return True

            def write(self, data):
                raise OSError(number, os.strerror(number))

        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(Full(), write_through=True))

    return lost


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO, errno.ENOSPC])
def test_what_cannot_be_written_is_lost_and_nothing_else(number, lost, capsys):
    lost(number)
    before = sys.stdout
    done = []
    with streams_that_hold():
        for _ in range(3):
            print("hello", flush=True)
            done.append(1)
    assert len(done) == 3
    assert sys.stdout is before
    said = capsys.readouterr().err
    assert (os.strerror(number) in said) == (number == errno.ENOSPC)  # nobody is there to be told of the others


def test_characters_that_a_terminal_does_not_know_are_replaced(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    with streams_that_hold():
        print("1.5 ± 0.2")
    assert written.getvalue() == b"1.5 ? 0.2\n"


def test_a_process_without_standard_output(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with streams_that_hold():
        sys.stdout.write("hello")


def test_what_fails_to_tell_says_so_once():
    said = []
    tell = harmless("the page", lambda number: 1 / number, said.append)
    for number in (0, 1, 0):
        tell(number)
    assert len(said) == 1
    assert "the page" in said[0]
    assert "ZeroDivisionError" in said[0]


def job(tmp_path, tiny_argv):
    return parse(["pose", *tiny_argv, "--workers", "0", "--storage", str(tmp_path), "--name", "run"]).job


def fail(*_, **__):
    raise ValueError("no fonts")


@pytest.mark.parametrize(
    "broken",
    [
        "aign.tasks.pose.PoseEvaluator.picture",
        "ray_jobs.worker.tensorboard._record",
        "matplotlib.figure.Figure.savefig",
    ],
)
def test_a_picture_or_an_event_file_that_fails_ends_no_run(broken, tmp_path, tiny_argv, monkeypatch):
    monkeypatch.setattr(broken, fail)
    events = []
    launch(job(tmp_path, tiny_argv), events.append)
    assert checkpoint_steps(Store(tmp_path / "run"))[0] == 12
    assert (tmp_path / "run" / "export" / "config.json").exists()
    warnings = [event.text for event in events if isinstance(event, Message) and "no fonts" in event.text]
    assert len(warnings) == 1


def test_a_view_that_fails_ends_no_run(tmp_path, tiny_argv):
    launch(job(tmp_path, tiny_argv), fail)
    assert (tmp_path / "run" / "export" / "config.json").exists()


# --- a process, and who listens to it --------------------------------------------------------------------------------


def start(tmp_path, **how):
    argv = ["pose", *TINY, *ENDLESS, "--storage", str(tmp_path), "--name", "run"]
    return subprocess.Popen([sys.executable, "-m", "ray_jobs.train", *argv], text=True, **how)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whatever_asks_a_run_to_go_it_saves_between_two_lines_and_nobody_listens(signum, tmp_path):
    read, write = os.pipe()
    run = start(tmp_path, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    try:
        os.read(read, 1)  # the first line of metrics
        os.close(read)  # as tee, when Ctrl-C ends it first
        run.send_signal(signum)
        said = run.communicate(timeout=PATIENCE_S)[1]
    finally:
        run.kill()
    assert run.returncode == 128 + signum, said
    (step,) = checkpoint_steps(Store(tmp_path / "run"))
    state = json.loads((tmp_path / "run" / "checkpoints" / f"step_{step:07d}" / "state.json").read_text())
    assert state["progress"]["unlogged_steps"] == step % 100
    assert "Traceback" not in said


def test_a_terminal_that_closes_leaves_a_checkpoint(tmp_path):
    terminal, own = os.openpty()
    run = start(tmp_path, stdin=own, stdout=own, stderr=own, start_new_session=True)
    os.close(own)
    try:
        seen = b""
        while b"samples/s" not in seen:
            seen += os.read(terminal, 4096)
        os.close(terminal)
        os.killpg(run.pid, signal.SIGHUP)
        os.killpg(run.pid, signal.SIGHUP)  # the shell's, and that of the terminal
        run.wait(PATIENCE_S)
    finally:
        run.kill()
    assert run.returncode == 128 + signal.SIGHUP
    assert checkpoint_steps(Store(tmp_path / "run"))
