"""A member of a population that goes on with another's weights takes a whole checkpoint, or none."""

import pytest
import torch

from aign.errors import UserError
from aign.storage.store import Store
from aign.training.engine import EngineState
from aign.training.loop import Progress
from ray_jobs.runs.checkpoints import Checkpoint, checkpoint_steps, fetch_checkpoint, folder_name, write_checkpoint
from ray_jobs.sweeps import trial
from ray_jobs.sweeps.trial import copy_checkpoint


@pytest.fixture
def source(tmp_path):
    """A run with the checkpoints of steps 10 and 20."""
    for step in (10, 20):
        state = EngineState({"param/a": torch.full((2,), float(step))}, {"updates": {}})
        progress = Progress(step=step, clock=step)
        checkpoint = Checkpoint(progress=progress, engines={"generator": state}, renderer={})
        write_checkpoint(tmp_path / "source/checkpoints" / folder_name(step), checkpoint, {})
    return Store(tmp_path / "source")


@pytest.fixture
def target(tmp_path):
    return Store(tmp_path / "target")


def damage(run, step):
    run.write(f"checkpoints/{folder_name(step)}/generator.safetensors", b"cut short")


@pytest.mark.parametrize("step", [10, 20])
def test_the_checkpoint_of_its_step_is_taken(step, source, target, tmp_path):
    assert copy_checkpoint(source, target, step) == step
    assert fetch_checkpoint(target, step, tmp_path / "read").engines["generator"].tensors["param/a"][0] == step


@pytest.mark.parametrize(("damaged", "step", "taken"), [(20, 20, 10), (10, 10, 20)])
def test_instead_of_a_damaged_one_another_is_taken(damaged, step, taken, source, target):
    damage(source, damaged)
    assert copy_checkpoint(source, target, step) == taken
    assert checkpoint_steps(target) == [taken]


def test_nothing_is_taken_where_all_are_damaged(source, target):
    damage(source, 10)
    damage(source, 20)
    with pytest.raises(UserError) as refused:
        copy_checkpoint(source, target, 20)
    assert str(refused.value.value).startswith(f"{source.uri}/checkpoints/")
    assert target.names() == []


def test_nothing_is_taken_of_a_run_that_has_none(target, tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "SECONDS_FOR_A_CHECKPOINT", 0.0)
    with pytest.raises(UserError):
        copy_checkpoint(Store(tmp_path / "nothing"), target, 20)
