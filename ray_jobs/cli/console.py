"""The command ``aign``: its verbs, and how each of them ends.

What a verb needs is imported only when it runs, so that ``aign --help`` answers at once.
"""

import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from aign.errors import UserError, did_you_mean, where_raised
from aign.storage.errors import StoreAway
from ray_jobs.launch.signals import ending_at_signals
from ray_jobs.worker.best_effort import streams_that_hold
from ray_jobs.worker.stopped import Stopped

VERBS = {
    "train": "Train a task, here or on a Ray cluster; the same command goes on where it was stopped.",
    "sweep": "Search options of a task with Ray Tune.",
    "compare": "Train presets on the same data and budget, and set them side by side.",
    "compress": "Make the network of a run smaller, and train what is left.",
    "sensitivity": "Measure what each layer of a run's network loses when it is made thinner.",
    "evaluate": "Measure a run's network on its test split again.",
    "predict": "Infer from your own keypoints or images with a run's network.",
    "export": "Write a run's network as weights, or as ONNX.",
    "report": "Make one HTML page of a run, of several, or of a sweep.",
    "submit": "Run one of these commands on a Ray cluster.",
    "jobs": "List, follow, stop and resume what was submitted.",
}
USAGE = "aign VERB [options]"
DEBUG = "AIGN_DEBUG"
"""Variable: print the traceback of an error as well."""


def run_command(command: Callable[[list[str]], None], argv: list[str] | None = None) -> None:
    """Run a command; a mistake a person can mend ends in one line and status 2, a failed run in status 1.

    A run that was asked to stop ends in one line and the status of the signal: 143 for SIGTERM, 130 for Ctrl-C.
    Whether anyone can be told makes no difference to it.
    """
    with streams_that_hold():
        status = _status(command, sys.argv[1:] if argv is None else argv)
    if status:
        sys.exit(status)


def _status(command: Callable[[list[str]], None], argv: list[str]) -> int:
    try:
        command(argv)
    except UserError as error:
        return _one_line(error, 2)
    except ModuleNotFoundError as error:
        remedy = f"install it there ({sys.executable} -m pip install), or use the python that has it"
        return _one_line(UserError(error.name, "this package is not installed", remedy), 2)
    except StoreAway as away:
        return _one_line(away, 1)
    except RuntimeError as error:
        return _one_line(error, 1)
    except Stopped as stopped:
        print(stopped)
        return stopped.status
    except KeyboardInterrupt:
        return 130
    return 0


def _one_line(error: Exception, status: int) -> int:
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    print(f"error: {' '.join(str(error).split())}{where_raised(error)}", file=sys.stderr)
    return status


def main() -> None:
    """``aign VERB ...``: the same as ``python -m ray_jobs.VERB ...``."""
    with ending_at_signals():
        run_command(_run_verb)


def _run_verb(argv: list[str]) -> None:
    verb = argv[0] if argv else "--help"
    if verb in ("-h", "--help"):
        print(f"usage: {USAGE}\n")
        for name, sentence in VERBS.items():
            print(f"  {name:<12} {sentence}")
        print("\naign VERB --help tells its options; aign --version the version")
    elif verb in ("-V", "--version"):
        print(f"aign {_version()}")
    elif verb in VERBS:
        import_module(f"ray_jobs.{verb}").command(argv[1:])
    else:
        raise UserError(verb, "unknown verb", did_you_mean(verb, VERBS))


def _version() -> str:
    try:
        return version("aign")
    except PackageNotFoundError:  # a copy of the code, as a cluster has it
        return "(not installed)"
