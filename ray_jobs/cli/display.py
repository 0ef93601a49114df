"""What a person sees of runs: bars or lines while they last, tables at their end."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import mean, stdev
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from aign.command import make_console
from aign.evaluation.result import cells_of, columns_of, measured_on, readable
from ray_jobs.worker.events import Evaluated, Event, Message, PictureSaved, Progressed

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
        match event:
            case Progressed():
                self._progress(event)
            case Evaluated(step, evaluation):
                self.evaluation = asdict(evaluation)
                metrics = "  ".join(f"{k} {readable(v)}" for k, v in evaluation.metrics.items())
                self.bars.say(f"{self.prefix}step {step}  {evaluation.split}  {metrics}")
            case PictureSaved(uri):
                self.picture = uri
            case Message(text):
                self.bars.say(text)

    def _progress(self, event: Progressed) -> None:
        self.bars.progress.update(self.row, completed=min(event.clock, self.steps), stage=event.stage)
        now = time.monotonic()
        if now - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = now
            terms = "  ".join(f"{name} {value:.3g}" for name, value in event.terms.items())
            speed = f"{event.values['samples_per_second']:,.0f} samples/s"
            self.bars.say(f"{self.prefix}step {event.step}/{self.steps}  {event.stage}  {terms}  {speed}")

    def report(self) -> None:
        """The final table, and where the last picture is."""
        if self.evaluation:
            self.bars.console.print(evaluation_table(self.evaluation))
        if self.picture:
            self.bars.say(f"picture: {self.picture}")


def evaluation_table(evaluation: Mapping[str, Any]) -> Table:
    """Metrics beside their baselines, saying on which data, split and how many samples."""
    columns, title = columns_of(evaluation), measured_on(evaluation)
    table = Table(title=title, title_justify="left", title_style="", min_width=min(len(title), 76))
    for column in ("metric", *columns):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for cells in cells_of(evaluation):
        table.add_row(*cells)
    return table


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation of several runs' numbers; of one run, its number."""
    if len(values) == 1:
        return readable(values[0])
    return f"{readable(mean(values))} ± {readable(stdev(values), like=mean(values))}"
