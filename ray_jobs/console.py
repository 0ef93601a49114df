"""The console: progress while a run lasts, tables at its end, and the command ``aign``."""

import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from aign.errors import UserError
from ray_jobs.recorder import Event

VERBS = ("train", "evaluate", "predict", "compare")
SECONDS_BETWEEN_LINES = 5.0


class RunConsole:
    """Shows a run's events: a bar on a terminal, a line every few seconds elsewhere."""

    def __init__(self, name: str, steps: int) -> None:
        self.steps, self.evaluation, self.picture = steps, None, None
        self.console = Console()
        self.bar = Progress(
            TextColumn(f"[bold]{name}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} {task.fields[stage]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.row = self.bar.add_task("", total=steps, stage="starting")
        self._last_line = 0.0

    def __enter__(self) -> "RunConsole":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def show(self, event: Event) -> None:
        if event["kind"] == "progress":
            self._progress(event)
        elif event["kind"] == "evaluation":
            self.evaluation = event["evaluation"]
            metrics = "  ".join(f"{name} {value:.1f}" for name, value in self.evaluation["metrics"].items())
            self.say(f"step {event['step']}  [bold]test[/]  {metrics}")
        elif event["kind"] == "picture":
            self.picture = event["path"]
        elif event["kind"] == "say":
            self.say(event["text"])

    def _progress(self, event: Event) -> None:
        self.bar.update(self.row, completed=min(event["clock"], self.steps), stage=event["stage"])
        now = time.monotonic()
        if now - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = now
            terms = "  ".join(f"{k} {v:.4g}" for k, v in event["values"].items() if k != "data_wait_share")
            self.say(f"step {event['step']}/{self.steps}  {event['stage']}  {terms}")

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)

    def report(self) -> None:
        """The final table, and where the last picture is."""
        if self.evaluation:
            self.console.print(evaluation_table(self.evaluation))
        if self.picture:
            self.say(f"picture: {self.picture}")


def evaluation_table(evaluation: Mapping[str, Any]) -> Table:
    """Metrics beside their floors, saying on which data, split and how many samples."""
    floors = evaluation["floors"]
    title = f"{evaluation['data']}: {evaluation['split']}, {evaluation['num_samples']} samples"
    table = Table(title=title, title_justify="left", title_style="")
    for column in ("metric", "inferred", *floors):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name, value in evaluation["metrics"].items():
        cells = [f"{floor[name]:.1f}" if name in floor else "" for floor in floors.values()]
        table.add_row(name, f"{value:.1f}", *cells)
    return table


def run_command(command: Callable[[list[str]], None], argv: list[str] | None = None) -> None:
    """Run a command; a mistake a person can mend ends in one line and status 2, a failed run in status 1."""
    try:
        command(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        sys.exit(_one_line(error, 2))
    except RuntimeError as error:
        sys.exit(_one_line(error, 1))
    except KeyboardInterrupt:
        sys.exit(130)


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
