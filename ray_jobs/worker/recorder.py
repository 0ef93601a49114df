"""What a run leaves in its folder: metrics, pictures, checkpoints; written beside training.

Loss terms and evaluations are appended as numbered parts of JSON lines, because object stores cannot append; and again
as event files for TensorBoard.
"""

import dataclasses
import io
import json
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from aign.evaluation.result import Evaluation
from aign.outputs import disk_errors
from aign.tasks.base import Task
from aign.tasks.stages import Stage
from aign.training.loop import Progress
from aign.training.step import Engines
from ray_jobs.runs.checkpoints import (
    STATE_FILE,
    Checkpoint,
    checkpoint_steps,
    folder_name,
    read_objective,
    write_checkpoint,
)
from ray_jobs.runs.job import Job
from ray_jobs.storage.spool import Spool
from ray_jobs.worker.best_effort import harmless
from ray_jobs.worker.events import Evaluated, Event, Message, PictureSaved, Progressed
from ray_jobs.worker.tensorboard import EventFiles

SECONDS_BETWEEN_PARTS = 3.0
SECONDS_BETWEEN_EVENT_FILES = 30.0
NEWEST_KEPT = 2


class RunWriter:
    """Writes one run's folder, on the first worker. All slow work happens in threads."""

    def __init__(
        self, job: Job, attempt: int, spool: Spool, tell: Callable[[Event], None], start_step: int = 0
    ) -> None:
        self.job, self.attempt, self.spool, self.tell = job, attempt, spool, tell
        self._lines: list[str] = []
        self._parts = 0
        self._last_part = self._last_event_file = time.monotonic()
        self._event_files = EventFiles(spool.put, attempt, start_step)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="run-writer")
        self._send_event_file = harmless("writing for TensorBoard", self._event_files.send, self._say)
        self._send_picture = harmless("drawing a picture", self._draw_and_send, self._say)
        self._sending_event_file = self._thread.submit(self._send_event_file)
        self._pending: list[Future[None]] = []
        self._closed = False
        self._objectives = {step: read_objective(job.folder, step) for step in checkpoint_steps(job.folder)}

    def emit(self, event: Progressed | Evaluated) -> None:
        """Append a line of metrics and tell of it; parts are sent every few seconds."""
        now = round(time.time(), 3)
        self._lines.append(json.dumps({"time": now, **_line(event)}) + "\n")
        self._event_files.add(event, now)
        if time.monotonic() - self._last_part > SECONDS_BETWEEN_PARTS:
            self.send_part()
        if time.monotonic() - self._last_event_file > SECONDS_BETWEEN_EVENT_FILES:
            self._send_event_file_in_turn()
        self.tell(event)

    def send_part(self) -> None:
        if self._lines:
            self.spool.put(f"metrics/{self.attempt:03d}-{self._parts:06d}.jsonl", "".join(self._lines).encode())
            self._parts += 1
            self._lines = []
        self._last_part = time.monotonic()

    def _send_event_file_in_turn(self) -> None:
        """In the background, where it waits for its turn; nobody waits for it here."""
        if self._sending_event_file.done():
            self._sending_event_file.result()
            self._sending_event_file = self._thread.submit(self._send_event_file)
            self._last_event_file = time.monotonic()

    def picture(self, step: int, draw: Callable[[], Figure]) -> None:
        """Draw and send a picture, in the background."""
        self._background(partial(self._send_picture, step, draw))

    def _draw_and_send(self, step: int, draw: Callable[[], Figure]) -> None:
        image = io.BytesIO()
        draw().savefig(image, format="png")
        path = f"pictures/{folder_name(step)}.png"
        self.spool.put(path, image.getvalue())
        self._event_files.add_picture(step, image.getvalue(), time.time())
        self.tell(PictureSaved(f"{self.job.folder.uri}/{path}"))

    def checkpoint(self, checkpoint: Checkpoint, about: dict[str, Any]) -> None:
        """Write and send a checkpoint in the background; keeps the newest two and the best.

        The metrics up to it go first: a run that is continued from here will not measure them again.
        """
        self.send_part()
        self._objectives[checkpoint.progress.step] = about["objective"]
        old = self._superseded()
        for step in old:
            del self._objectives[step]

        def write_and_send() -> None:
            self._send_event_file()
            with self.spool.scratch() as scratch:
                folder = scratch / checkpoint.folder_name
                with disk_errors(scratch.parent):
                    write_checkpoint(folder, checkpoint, {"attempt": self.attempt, **about, "job": self.job.to_json()})
                self.spool.put_folder(folder, f"checkpoints/{checkpoint.folder_name}", last=STATE_FILE)
            for step in old:
                self.spool.remove(f"checkpoints/{folder_name(step)}")

        self._background(write_and_send)

    def _superseded(self) -> list[int]:
        newest = sorted(self._objectives)[-NEWEST_KEPT:]
        measured = {s: value for s, value in self._objectives.items() if value is not None and math.isfinite(value)}
        best = min(measured, key=lambda step: measured[step]) if measured else None
        return [step for step in self._objectives if step not in newest and step != best]

    def _say(self, text: str) -> None:
        self.tell(Message(text))

    def _background(self, work: Callable[[], None]) -> None:
        """Run after earlier work; an error there is raised here, and at most a few pieces of work wait."""
        while self._pending and (self._pending[0].done() or len(self._pending) > 2):
            self._pending.pop(0).result()
        self._pending.append(self._thread.submit(work))

    def close(self) -> None:
        """Finish all work, once; the spool sends it."""
        if self._closed:
            return
        self._closed = True
        self.send_part()
        self._pending.append(self._thread.submit(self._send_event_file))
        self._thread.shutdown(wait=True)
        for future in [*self._pending, self._sending_event_file]:
            future.result()


class RunRecorder:
    """The loop's Recorder on one worker. Every worker takes part in a checkpoint; the first one has the writer."""

    def __init__(self, task: Task, writer: RunWriter | None) -> None:
        self.task, self.writer = task, writer
        self.validation: tuple[int, Evaluation] | None = None
        """The newest, and the step at which it was measured."""

    def log(self, progress: Progress, stage: Stage, values: dict[str, float]) -> None:
        if self.writer:
            self.writer.emit(
                Progressed(
                    step=progress.step,
                    clock=progress.clock,
                    stage=stage.name,
                    generator_updates=progress.generator_updates,
                    values=values,
                )
            )

    def evaluation(self, progress: Progress, evaluation: Evaluation, draw_picture: Callable[[], Figure]) -> None:
        self.validation = (progress.step, evaluation)
        self.measured(progress, evaluation)
        if self.writer:
            self.writer.picture(progress.step, draw_picture)

    def measured(self, progress: Progress, evaluation: Evaluation) -> None:
        """Write down what was measured."""
        if self.writer:
            self.writer.emit(Evaluated(progress.step, evaluation))

    def checkpoint(self, progress: Progress, engines: Engines) -> None:
        players = {"generator": engines.generator, "discriminators": engines.discriminators}
        states = {name: engine.state() for name, engine in players.items() if engine is not None}
        if self.writer:
            self.writer.checkpoint(
                Checkpoint(progress=progress, engines=states, renderer=renderer_buffers(self.task)),
                {"objective": self._objective(progress.step), "metadata": self.task.metadata},
            )

    def _objective(self, step: int) -> float | None:
        if self.validation is None or self.validation[0] != step:
            return None
        return self.validation[1].metrics[self.task.selection_metric]


def _line(event: Progressed | Evaluated) -> dict[str, Any]:
    """An event as a line of RUN/metrics, without its time."""
    match event:
        case Progressed():
            where = {"step": event.step, "stage": event.stage, "generator_updates": event.generator_updates}
            return {**where, **event.values}
        case Evaluated(step, evaluation):
            return {"step": step, "evaluation": dataclasses.asdict(evaluation)}


def renderer_buffers(task: Task) -> dict[str, Tensor]:
    """The renderer's data on the CPU."""
    return {name: buffer.detach().cpu() for name, buffer in task.model.renderer.state_dict().items()}
