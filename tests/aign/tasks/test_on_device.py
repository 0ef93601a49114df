"""Every task does on a GPU what it does on a CPU: it learns, measures, draws, writes, and is saved and read back.

Without a GPU, a pretended device stands for it: a tensor that is on the wrong one of two fails there too.
"""

from contextlib import nullcontext

import pytest
import torch

import aign
from aign.device import to_device
from aign.tasks import TASKS
from aign.tasks.parts import UserInput
from aign.trained import Trained
from aign.training.loop import Progress, draw_batch, evaluate, infer_all
from aign.training.players import make_engines
from aign.training.run_config import RunConfig
from aign.training.step import adversarial_step
from tests.aign.tasks.test_host_waits import SMALL
from tests.far_device import FAR, far_device

STEPS = 3


def learn(name, device):
    """A run's config, its task after a few steps of its last stage, and the loss terms of each."""
    run = RunConfig.of(name, **{"batch_size": 8, **SMALL[name]})
    task = run.make_task(device)
    engines, stage = make_engines(task, run.training), task.objective.stages[-1]
    losses = []
    for step in range(STEPS):
        batch = draw_batch(task, stage, run.training, step)
        terms, _ = adversarial_step(task, engines, stage, batch, run.training, step)
        losses.append(torch.stack(list(terms.values())).cpu())
    return run, task, torch.stack(losses)


@pytest.mark.parametrize("name", TASKS)
def test_it_does_what_it_does_on_a_cpu(name, device, tmp_path):
    losses = learn(name, "cpu")[2]
    with nullcontext(device) if device.type == "cuda" else far_device() as place:
        run, task, found = learn(name, place)
        close = {"rtol": 1e-5, "atol": 1e-6} if place == FAR else {"rtol": 1e-2, "atol": 1e-3}
        torch.testing.assert_close(found, losses, **close)

        evaluation, inferred = evaluate(task, task.model.generator)
        assert all(value == value for value in evaluation.metrics.values())
        task.evaluator.picture(inferred, task.data.validation).savefig(tmp_path / "picture.png")

        example = task.model.example(2, torch.Generator().manual_seed(0))
        own = UserInput(sample={"observed": to_device(example, place)}, names=("0", "1"))
        inferred = infer_all(task.model.generator, own.sample["observed"])
        assert all(file.is_file() for file in task.files.write(inferred, own, tmp_path))
        task.files.doubts(inferred, own, evaluation.metrics)

        Trained(run=run, task=task, progress=Progress(), validation=evaluation).save(tmp_path / "export")
        there = {factor: values.cpu() for factor, values in inferred.items()}
    torch.testing.assert_close(there, aign.load(tmp_path / "export", device="cpu").infer(example), rtol=1e-3, atol=1e-3)
