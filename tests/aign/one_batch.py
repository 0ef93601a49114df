"""A task of one stage that learns from one batch."""

from aign.training.loop import draw_batch
from aign.training.players import make_engines
from aign.training.step import adversarial_step


def train_on_one_batch(run, steps):
    """The task afterwards, the batch, and the loss terms of every step."""
    task = run.make_task()
    (stage,) = task.objective.stages
    batch = draw_batch(task, stage, run.training, 0)
    engines = make_engines(task, run.training)
    terms = [adversarial_step(task, engines, stage, batch, run.training, step)[0] for step in range(steps)]
    return task, batch, terms
