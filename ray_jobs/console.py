"""The console: progress while runs last, tables at their end, and the command ``aign``."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from statistics import mean, stdev
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from aign.command import make_console
from aign.errors import UserError
from aign.tasks.base import readable
from ray_jobs.events import MACHINE_METRICS, Event
from ray_jobs.stopping import Stopped
from ray_jobs.storage import StoreAway
from ray_jobs.telling import streams_that_hold

VERBS = (
    *("train", "sweep", "compare", "compress", "sensitivity"),
    *("evaluate", "predict", "export", "report"),
    *("submit", "jobs"),
)
SECONDS_BETWEEN_LINES = 5.0


class Bars:
    """The console of one or several runs: bars on a terminal, lines elsewhere."""

    def __init__(self) -> None:
        self.console = make_console()
        self.progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} {task.fields[stage]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )

    def __enter__(self) -> "Bars":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def run(self, name: str, steps: int, prefix: str = "") -> "RunView":
        """A bar for one more run, and the ``prefix`` that tells its lines from those of others."""
        return RunView(self, name, steps, prefix)

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


class RunView:
    """Shows one run's events."""

    def __init__(self, bars: Bars, name: str, steps: int, prefix: str) -> None:
        self.bars, self.steps, self.prefix = bars, steps, prefix
        self.evaluation: dict[str, Any] | None = None
        self.picture: str | None = None
        self.row = bars.progress.add_task(name, total=steps, stage="starting")
        self._last_line = 0.0

    def show(self, event: Event) -> None:
        if event["kind"] == "progress":
            self._progress(event)
        elif event["kind"] == "evaluation":
            self.evaluation = event["evaluation"]
            metrics = "  ".join(f"{k} {readable(v)}" for k, v in event["evaluation"]["metrics"].items())
            self.bars.say(f"{self.prefix}step {event['step']}  test  {metrics}")
        elif event["kind"] == "picture":
            self.picture = event["path"]
        elif event["kind"] == "say":
            self.bars.say(event["text"])

    def _progress(self, event: Event) -> None:
        self.bars.progress.update(self.row, completed=min(event["clock"], self.steps), stage=event["stage"])
        now = time.monotonic()
        if now - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = now
            values = event["values"]
            terms = "  ".join(f"{k} {v:.3g}" for k, v in values.items() if k not in MACHINE_METRICS)
            speed = f"{values['samples_per_second']:,.0f} samples/s"
            self.bars.say(f"{self.prefix}step {event['step']}/{self.steps}  {event['stage']}  {terms}  {speed}")

    def report(self) -> None:
        """The final table, and where the last picture is."""
        if self.evaluation:
            self.bars.console.print(evaluation_table(self.evaluation))
        if self.picture:
            self.bars.say(f"picture: {self.picture}")


def measured_on(evaluation: Mapping[str, Any]) -> str:
    """What metrics were measured on: data, split and how many samples."""
    return f"{evaluation['data']}: {evaluation['split']}, {evaluation['num_samples']} samples"


def evaluation_table(evaluation: Mapping[str, Any]) -> Table:
    """Metrics beside their floors, saying on which data, split and how many samples."""
    floors = evaluation["floors"]
    title = measured_on(evaluation)
    table = Table(title=title, title_justify="left", title_style="", min_width=min(len(title), 76))
    for column in ("metric", "inferred", *floors):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name, value in evaluation["metrics"].items():
        cells = [readable(floor[name]) if name in floor else "" for floor in floors.values()]
        table.add_row(name, readable(value), *cells)
    return table


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation of several runs' numbers; of one run, its number."""
    if len(values) == 1:
        return readable(values[0])
    return f"{readable(mean(values))} ± {readable(stdev(values), like=mean(values))}"


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
    except (RuntimeError, StoreAway) as error:
        return _one_line(error, 1)
    except Stopped as stopped:
        print(stopped)
        return stopped.status
    except KeyboardInterrupt:
        return 130
    return 0


def _one_line(error: Exception, status: int) -> int:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return status


def main() -> None:
    """``aign VERB ...``: the same as ``python -m ray_jobs.VERB ...``."""
    verb = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if verb in ("-h", "--help"):
        print(f"usage: aign VERB ...\n\nverbs: {', '.join(VERBS)}; aign VERB --help tells more")
        return
    if verb not in VERBS:
        print(f"error: {verb}: unknown verb; choose one of {', '.join(VERBS)}", file=sys.stderr)
        sys.exit(2)
    run_command(import_module(f"ray_jobs.{verb}").command, sys.argv[2:])
