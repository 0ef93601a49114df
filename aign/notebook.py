"""Training in three lines, in one process, with plain PyTorch engines."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from aign.device import DeviceOption, choose_device
from aign.evaluation.result import Evaluation
from aign.tasks.stages import Stage
from aign.trained import Trained
from aign.training.loop import Progress, evaluate
from aign.training.loop import train as run_loop
from aign.training.players import make_engines
from aign.training.run_config import RunConfig
from aign.training.step import Engines


def train(
    task: str, preset: str | None = None, *, device: DeviceOption = "auto", quiet: bool = False, **options: Any
) -> Trained:
    """Train a task here and now.

    Options are those of the task and of TrainingConfig by name, as on the command line: ``steps=500, data="cmu"``.
    ``device`` is cpu, cuda, or auto: a GPU if there is one. Prints a line of loss terms every ``log_every`` steps
    unless ``quiet``.
    """
    run = RunConfig.of(task, preset, **options)
    run.check_batch(num_workers=1)
    made = run.make_task(choose_device(device))
    engines = make_engines(made, run.training)
    recorder = _Printer(quiet)
    progress = run_loop(made, engines, run.training, recorder)
    made.model.generator.load_state_dict(engines.generator.state().averaged_weights)
    test, _ = evaluate(made, made.model.generator, "test")
    return Trained(run=run, task=made, progress=progress, validation=recorder.evaluations[-1], test=test)


@dataclass
class _Printer:
    quiet: bool
    evaluations: list[Evaluation] = field(default_factory=list)

    def log(self, progress: Progress, stage: Stage, values: dict[str, float]) -> None:
        if not self.quiet:
            print(f"step {progress.step} {stage.name}", *(f"{name} {value:.4g}" for name, value in values.items()))

    def evaluation(self, progress: Progress, evaluation: Evaluation, draw_picture: Callable[[], Figure]) -> None:
        self.evaluations.append(evaluation)

    def checkpoint(self, progress: Progress, engines: Engines) -> None:
        """Nothing: the trained task is returned."""
