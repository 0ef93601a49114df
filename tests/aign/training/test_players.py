"""The two engines of a task."""

from dataclasses import replace

import torch

from aign.training.batch_norm import GlobalBatchNorm
from aign.training.config import TrainingConfig
from aign.training.engine import TorchEngine
from aign.training.players import make_engines


def test_engines_hold_the_networks_with_their_own_learning_rates(toy):
    task, _, _ = toy()
    engines = make_engines(task, TrainingConfig(generator_lr=0.2, discriminator_lr=0.3, betas=(0.1, 0.7)))
    assert engines.generator.module is task.model.generator
    assert engines.discriminators.module["z"] is task.discriminators["z"].network
    groups = [engine.optimizer.param_groups[0] for engine in (engines.generator, engines.discriminators)]
    assert [(group["lr"], group["betas"]) for group in groups] == [(0.2, (0.1, 0.7)), (0.3, (0.1, 0.7))]


def test_without_a_discriminator_in_any_stage_there_is_no_engine_for_them(toy):
    task, config, _ = toy()
    task.objective.config = tuple(replace(stage, weights={"supervision": 1.0}) for stage in task.objective.config)
    assert make_engines(task, config).discriminators is None


def test_batch_norms_become_global_before_the_engine_is_made(toy):
    task, config, _ = toy()
    task.model.generator.norm = torch.nn.BatchNorm1d(2)
    made = []
    make_engines(task, config, lambda module, *rest: made.append(module) or TorchEngine(module, *rest))
    assert isinstance(made[0].norm, GlobalBatchNorm)
