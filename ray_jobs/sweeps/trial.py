"""One trial as Ray Tune sees it: a Trainable whose steps are the evaluations of a real run.

A run goes on while Tune thinks; where Tune ends or pauses a trial, its run saves and ends too. What Tune takes for a
checkpoint is only a pointer: the path of runs that led here. Weights stay in storage, whole and unpickled.
"""

import contextlib
import json
import math
import queue
import signal
import tempfile
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.result import DONE

from aign.errors import NotTrainable, UserError
from aign.storage.errors import StoreAway
from aign.storage.store import Store
from ray_jobs.launch.signals import StopSignal
from ray_jobs.launch.start import launch
from ray_jobs.launch.threads import in_thread
from ray_jobs.runs.checkpoints import STATE_FILE, checkpoint_steps, fetch_checkpoint, folder_name
from ray_jobs.storage.attempts import AlreadyRuns
from ray_jobs.sweeps.plan import Sweep, trial_folder
from ray_jobs.worker.events import Evaluated, Event, Progressed
from ray_jobs.worker.stopped import Stopped

POINTER = "path.json"
SECONDS_TO_STOP = 120.0
SECONDS_FOR_A_CHECKPOINT = 60.0


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A part of a trial's path: a run with its values, from a step on."""

    run: str
    """Its folder in the sweep's."""
    values: dict[str, str]
    step: int = 0
    clock: int = 0


class Trial(tune.Trainable):
    """See the module's docstring. Its config is one entry, ``spec``: a trial's number, point and path (JSON)."""

    def setup(self, config: dict[str, Any], sweep: Sweep) -> None:  # type: ignore[override]
        self.sweep = sweep
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial: a process that has imported everything is worth keeping."""
        self.cleanup()
        self._take(new_config)
        return True

    def _take(self, config: dict[str, Any]) -> None:
        self.config = config
        self.path = [Segment(**segment) for segment in config["spec"]["path"]]
        self.last: dict[str, Any] = {"step": 0, "clock": 0}
        self._events: queue.Queue[Event | None] = queue.Queue()  # None at the end of a run
        self._stop = StopSignal()
        self._running: Future[bool] | None = None

    def step(self) -> dict[str, Any]:
        """Up to the next evaluation or the end.

        Values that cannot be trained are a result too, ``reason``; so is a place where no trial can run, ``broken``.
        """
        try:
            while True:
                if self._running is None:
                    self.path = self._next_path()
                    self._running = in_thread("trial", self._train)
                if measured := self._until_evaluation():
                    return measured
                if self._running.result():
                    return self._end()
                self._running = None
        except NotTrainable as error:
            return self._ended_by("reason", error)
        except (UserError, StoreAway, OSError) as error:
            return self._ended_by("broken", error)

    def _ended_by(self, what: str, error: Exception) -> dict[str, Any]:
        worst = -math.inf if self.sweep.options.maximize else math.inf
        said = " ".join(str(error).split())
        return {**self.last, "path": self._path_as_json(), "objective": worst, what: said, DONE: True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        (Path(checkpoint_dir) / POINTER).write_text(json.dumps({"path": self._path_as_json(), "last": self.last}))

    def load_checkpoint(self, checkpoint: str) -> None:  # type: ignore[override]
        pointer = json.loads((Path(checkpoint) / POINTER).read_text())
        self.path = [Segment(**segment) for segment in pointer["path"]]
        self.last = pointer["last"]

    def cleanup(self) -> None:
        self._stop.signum = signal.SIGTERM
        if self._running is not None:
            # what was learnt is as safe as it gets; what went wrong matters to nobody any more
            with contextlib.suppress(NotYet, Exception):
                self._running.result(SECONDS_TO_STOP)

    # --- the run ---------------------------------------------------------------------------------------------------

    @property
    def own_folder(self) -> str:
        return trial_folder(int(self.trial_name))

    def _next_path(self) -> list[Segment]:
        """The path so far, ending in a run of this trial with the values it is to have from here on."""
        values = self.sweep.space.values(self.config["spec"]["point"])
        last = self.path[-1] if self.path else None
        if last and last.run.startswith(f"{self.own_folder}/") and last.values == values:
            return self.path
        runs = [name for name in self.sweep.folder.names(self.own_folder) if name.isdecimal()]
        if last is None:  # a run that ended before anything was measured is the same run
            return [Segment(run=f"{self.own_folder}/{max(0, len(runs) - 1)}", values=values)]
        run = f"{self.own_folder}/{len(runs)}"
        step = copy_checkpoint(self.sweep.folder / last.run, self.sweep.folder / run, self.last["step"])
        clock = self.last["clock"] + step - self.last["step"]
        return [*self.path, Segment(run=run, values=values, step=step, clock=clock)]

    def _train(self) -> bool:
        """Run as far as the trial may go without Tune; whether that is the end."""
        try:
            job = self.sweep.trial_job(self.path[-1].run, self.path[-1].values)
            if self.sweep.options.scheduler == "pbt":  # where all members wait for each other
                every = self.sweep.perturb_every
                begun = next(iter(checkpoint_steps(job.folder)), 0)
                job = replace(job, until=(begun // every + 1) * every)
            deadline = time.monotonic() + SECONDS_TO_STOP
            while True:
                try:
                    launch(job, self._events.put, self._stop)
                    return True
                except Stopped:
                    return False
                except AlreadyRuns:  # an earlier process of this trial is still saving, or else somebody runs it
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(1)
        finally:
            self._events.put(None)

    def _until_evaluation(self) -> dict[str, Any] | None:
        """What the next evaluation measured; None at the run's end, whose evaluation is kept for ``_end``."""
        while event := self._events.get():
            match event:
                case Progressed(clock=clock):
                    self.last |= {"clock": clock}
                case Evaluated(step, evaluation) if evaluation.split == "validation":
                    self.last |= self.sweep.measured(asdict(evaluation)) | {"step": step}
                    if self.last["clock"] < self.sweep.job.run.training.steps:
                        return {**self.last, "path": self._path_as_json()}
        return None

    def _end(self) -> dict[str, Any]:
        self.last |= self.sweep.at_the_end(self.path[-1].run) or {}
        return {**self.last, "path": self._path_as_json(), "finished": True, DONE: True}

    def _path_as_json(self) -> list[dict[str, Any]]:
        return [asdict(segment) for segment in self.path]


def copy_checkpoint(source: Store, target: Store, step: int) -> int:
    """Make another run's checkpoint the beginning of a new run: that of a step, or if it is gone or damaged the newest
    whole one.

    Returns its step. It waits for one that is still under way. Raises UserError if there is none.
    """
    deadline = time.monotonic() + SECONDS_FOR_A_CHECKPOINT
    while step not in (steps := checkpoint_steps(source)) and time.monotonic() < deadline:
        if steps and steps[0] > step:
            break  # superseded
        time.sleep(0.5)
    refusal = UserError(source.uri, "has no checkpoint to go on from", "give it a smaller --checkpoint-every")
    others = [other for other in steps if other != step]
    for chosen in [step, *others] if step in steps else others:
        with tempfile.TemporaryDirectory(prefix="aign-exploit-") as scratch:
            try:
                fetch_checkpoint(source, chosen, Path(scratch))
            except UserError as damage:  # another one is as good to go on from
                refusal = damage
                continue
            name = folder_name(chosen)
            files = sorted((Path(scratch) / name).iterdir(), key=lambda file: file.name == STATE_FILE)
            for file in files:  # state.json, which makes the others valid, comes last
                target.upload(file, f"checkpoints/{name}/{file.name}")
        return chosen
    raise refusal
