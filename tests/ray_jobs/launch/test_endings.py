"""How runs end before their end: asked to stop, or by a mistake that only a person can mend."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from aign.storage.store import Store
from aign.training.notice import Notice
from aign.training.run_config import RunConfig
from ray_jobs import train
from ray_jobs.cli.console import run_command
from ray_jobs.launch.signals import StopSignal
from ray_jobs.launch.start import start_ray
from ray_jobs.runs.checkpoints import checkpoint_steps
from ray_jobs.runs.job import Job, Placement, Workers
from ray_jobs.storage.waiting_room import waiting_room
from ray_jobs.worker.lifetime import patiently

ENDLESS = ("--steps", "100000", "--log-every", "5", "--checkpoint-every", "20", "--evaluate-every", "100000")
PATIENCE_S = 300  # on a machine that is busy with other things
SIZES = ("--width", "32", "--num-blocks", "1", "--batch-size", "16")


@pytest.fixture
def endless(tmp_path):
    """The command line of a run that does not end by itself, and its folder."""
    return ["pose", *SIZES, *ENDLESS, "--storage", str(tmp_path), "--name", "run"], tmp_path / "run"


def signal_once_saved(run, signum, after=0):
    """Sends this process a signal, from another thread, when a run has a checkpoint of a later step."""

    def wait_and_send():
        while next(iter(checkpoint_steps(Store(run))), 0) <= after:
            time.sleep(0.02)
        os.kill(os.getpid(), signum)

    threading.Thread(target=wait_and_send, daemon=True).start()


def status_of(argv):
    with pytest.raises(SystemExit) as ended:
        run_command(train.command, argv)
    return ended.value.code


# --- asked to stop ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workers", "signum", "status"),
    [
        ("0", signal.SIGTERM, 143),
        ("0", signal.SIGINT, 130),
        pytest.param("2", signal.SIGTERM, 143, marks=pytest.mark.ray),
    ],
)
def test_a_run_that_is_asked_to_stop_saves_and_says_how_to_go_on(workers, signum, status, endless, capsys, request):
    if workers != "0":
        request.getfixturevalue("ray_local")
    argv, run = endless
    signal_once_saved(run, signum)
    before = signal.getsignal(signum)
    assert status_of([*argv, "--workers", workers]) == status
    assert signal.getsignal(signum) == before
    newest = checkpoint_steps(Store(run))[0]
    assert capsys.readouterr().out.endswith(f"run stopped at step {newest}; the same command goes on from there\n")
    assert not (run / "export").exists()


@pytest.mark.ray
@pytest.mark.parametrize("moment", ["gcs_server", "TrainController", "RayTrainWorker"])
def test_a_run_that_is_asked_to_stop_while_ray_starts_ends_and_leaves_no_process(moment, endless):
    """When a process of that name is there."""
    argv, _ = endless
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    run = subprocess.Popen([sys.executable, "-m", "ray_jobs.train", *argv, "--workers", "1"], env=environment)
    try:
        started: dict[int, psutil.Process] = {}
        while not any(moment in " ".join(command_line(process)) for process in started.values()):
            assert run.poll() is None
            time.sleep(0.05)
            started |= {process.pid: process for process in psutil.Process(run.pid).children(recursive=True)}
        run.send_signal(signal.SIGTERM)
        assert run.wait(PATIENCE_S) == 143
        assert not psutil.wait_procs(started.values(), PATIENCE_S)[1]
    finally:
        run.kill()


def command_line(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_stopped_run_goes_on(endless, capsys):
    argv, run = endless
    stopped_at = 0
    for _ in range(2):
        signal_once_saved(run, signal.SIGTERM, after=stopped_at)
        assert status_of([*argv, "--workers", "0"]) == 143
        before, stopped_at = stopped_at, checkpoint_steps(Store(run))[0]
    assert f"run goes on from step {before}" in capsys.readouterr().out
    assert stopped_at > before > 0


def test_a_second_signal_ends_at_once(tmp_path):
    """While nobody looks whether there was a first one."""
    script = "import os, signal, time\nfrom ray_jobs.launch.signals import StopSignal\nwith StopSignal():\n"
    script += "    for _ in range(2): os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(60)"
    assert subprocess.run([sys.executable, "-c", script], timeout=PATIENCE_S).returncode == -signal.SIGTERM


def test_a_signal_that_an_import_has_swallowed_still_stops_a_run():
    """Some libraries try imports of their own, and catch whatever these raise."""
    script = "import os, signal\nfrom ray_jobs.launch.signals import StopSignal, end_at_signals\nend_at_signals()\n"
    script += "try:\n    os.kill(os.getpid(), signal.SIGTERM)\nexcept BaseException:\n    pass\n"
    script += "with StopSignal() as stop:\n    print(stop.signum)"
    said = subprocess.run([sys.executable, "-c", script], timeout=PATIENCE_S, stdout=subprocess.PIPE).stdout
    assert int(said) == signal.SIGTERM


# --- a mistake that only a person can mend ---------------------------------------------------------------------------


@pytest.mark.ray
def test_a_mistake_that_only_the_first_worker_sees_ends_the_run_at_once(ray_local, endless, refused, train_workers):
    """A file is where its results would wait for the store, and another worker waits for it."""
    argv, run = endless
    room = waiting_room(Store(run))
    room.parent.mkdir(exist_ok=True)
    room.write_text("not a folder")
    said = refused(train.command, *argv)
    assert str(room) in said
    assert not (run / "attempts").exists()
    assert not train_workers()


def test_a_run_that_begins_while_the_store_is_away_waits_and_says_so_once(tmp_path, line, tiny, monkeypatch):
    monkeypatch.setattr("ray_jobs.worker.lifetime.SECONDS_BETWEEN_TRIES", 0.1)
    store = f"s3://aign-test/{tmp_path.name}"
    job = Job(
        run=RunConfig.of("pose", **tiny), placement=Placement(storage=store, workers=Workers.parse("0")), name="later"
    )
    line.cut()
    said = []

    def tell(event):
        said.append(event.text)
        line.restore()

    patiently(lambda: job.folder.names("attempts"), time.monotonic() + PATIENCE_S, tell, lambda: Notice.NONE)
    assert len(said) == 1
    assert "the run waits for it" in said[0]


def test_a_local_ray_is_not_mistaken_for_one_that_was_there_before(monkeypatch):
    started = {}
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", lambda **options: started.update(options))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    start_ray(Job(run=RunConfig.of("pose"), placement=Placement(), name="here"), StopSignal())
    assert started["address"] == "local"
