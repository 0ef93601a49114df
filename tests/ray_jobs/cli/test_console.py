"""The command ``aign``: what it answers at once, and how it ends when it is told to."""

import os
import signal
import subprocess
import sys
import threading
from importlib import import_module

import pytest
import torch

from aign.errors import UserError
from ray_jobs.cli.console import VERBS, main, run_command

PATIENCE_S = 300  # on a machine that is busy with other things
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def aign(monkeypatch, capsys):
    """Calls ``aign WORDS``; its status, and what it prints on both streams."""

    def aign(*words):
        monkeypatch.setattr(sys, "argv", ["aign", *words])
        try:
            main()
        except SystemExit as ended:
            return ended.code, *capsys.readouterr()
        return 0, *capsys.readouterr()

    return aign


# --- at once ---------------------------------------------------------------------------------------------------------


def test_help_names_every_verb(aign):
    status, said, _ = aign("--help")
    assert status == 0
    lines = [line.split(maxsplit=1) for line in said.splitlines() if line.startswith("  ")]
    assert [verb for verb, _ in lines] == list(VERBS)
    assert all(hasattr(import_module(f"ray_jobs.{verb}"), "command") for verb in VERBS)
    assert aign()[:2] == (0, said)


def test_the_version(aign):
    from importlib.metadata import version

    assert aign("--version") == (0, f"aign {version('aign')}\n", "")


def test_an_unknown_verb(aign):
    status, _, error = aign("trian")
    assert status == 2
    assert error.endswith("did you mean train?\n")


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["trian"]])
def test_no_answer_waits_for_pytorch(words):
    code = f"import sys; sys.argv = ['aign', *{words}]; from ray_jobs.cli.console import main\ntry: main()\n"
    code += "finally: print('torch' in sys.modules, 'ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout.splitlines()[-1] == "False False", done.stderr


# --- errors ----------------------------------------------------------------------------------------------------------


def ended(command, capsys):
    with pytest.raises(SystemExit) as status:
        run_command(command, [])
    return status.value.code, capsys.readouterr().err


def mistake_in_a_network(argv):
    torch.nn.Conv2d(4, 8, 3)(torch.zeros(2, 1, 44, 44))


def test_an_error_of_a_library_says_where_it_was_called(capsys, monkeypatch):
    monkeypatch.delenv("AIGN_DEBUG", raising=False)
    status, said = ended(mistake_in_a_network, capsys)
    line = mistake_in_a_network.__code__.co_firstlineno + 1
    assert status == 1
    assert said.count("\n") == 1
    assert "[2, 1, 44, 44]" in said
    assert said.endswith(f"(at {__file__}:{line})\n")


def test_a_traceback_for_who_asks(capsys, monkeypatch):
    monkeypatch.setenv("AIGN_DEBUG", "1")
    status, said = ended(mistake_in_a_network, capsys)
    assert status == 1
    assert said.startswith("Traceback")
    assert "in mistake_in_a_network" in said


@pytest.mark.parametrize(("error", "status"), [(RuntimeError("a failed run"), 1), (UserError("a", "b", "c"), 2)])
def test_an_error_on_purpose_says_itself_what_is_wrong(error, status, capsys, monkeypatch):
    monkeypatch.delenv("AIGN_DEBUG", raising=False)

    def command(argv):
        raise error

    assert ended(command, capsys) == (status, f"error: {error}\n")


# --- signals ---------------------------------------------------------------------------------------------------------


def told(argv, until, signum):
    """A process that gets a signal when a line of its output holds ``until``; its status, and all that it printed."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    listening = {"preexec_fn": lambda: [signal.signal(each, signal.SIG_DFL) for each in SIGNALS]}
    with subprocess.Popen([sys.executable, *argv], **streams, **listening) as process:
        said = []
        for line in process.stdout:
            said.append(line)
            if until in line:
                break
        process.send_signal(signum)
        patience = threading.Timer(PATIENCE_S, process.kill)
        patience.start()
        said += process.stdout  # not communicate, which knows nothing of a line that has been read in part
        patience.cancel()
    return process.returncode, "".join(line for line in said if not line.startswith("import time:"))


@pytest.mark.parametrize("signum", SIGNALS)
@pytest.mark.parametrize("how", [["-m", "ray_jobs.evaluate"], ["-c", "from ray_jobs.cli.console import main; main()"]])
def test_a_signal_while_pytorch_is_imported(how, signum):
    argv = ["-X", "importtime", *how, "evaluate", "nowhere"]
    status, said = told(argv, " torch.types", signum)
    assert status == 128 + signum, said
    assert said.count("\n") == 1, said
    assert signum.name in said


FILLING = """
import pathlib, sys, time
from ray_jobs.cli.console import ending_at_signals, run_command
from ray_jobs.cli.outputs import OutputFolder

def command(argv):
    with OutputFolder(argv[0]).filling() as folder:
        (folder / "0000.png").write_bytes(b"whole")
        print("written", flush=True)
        time.sleep(1000)

with ending_at_signals():
    run_command(command)
"""


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_while_results_are_written(signum, tmp_path):
    status, said = told(["-c", FILLING, str(tmp_path / "out")], "written", signum)
    assert status == 128 + signum, said
    assert said.splitlines()[1:] == [f"ended by {signum.name}; what it had not written yet is lost"]
    assert os.listdir(tmp_path) == []
