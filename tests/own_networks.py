"""Tasks that share data, which is slow to make, but no networks."""

import copy
import dataclasses

from aign.tasks.base import Task


def with_own_networks(task: Task) -> Task:
    """The task with copies of its networks; its data is shared."""
    model = copy.copy(task.model)
    model.generator = copy.deepcopy(task.model.generator)
    objective, evaluator = copy.copy(task.objective), copy.copy(task.evaluator)
    objective.model = evaluator.model = model
    discriminators = {
        name: dataclasses.replace(discriminator, network=copy.deepcopy(discriminator.network))
        for name, discriminator in task.discriminators.items()
    }
    return dataclasses.replace(
        task, model=model, objective=objective, evaluator=evaluator, discriminators=discriminators
    )
