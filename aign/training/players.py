"""The two players of a run, each in an engine: the generator and all discriminators."""

from collections.abc import Callable

from torch import nn
from torch.optim import Adam, Optimizer

from aign.tasks.base import Task
from aign.training.batch_norm import with_global_batch_norm
from aign.training.config import TrainingConfig
from aign.training.engine import Engine, TorchEngine
from aign.training.step import Engines

MakeEngine = Callable[[nn.Module, Optimizer], Engine]


def make_engines(task: Task, config: TrainingConfig, make_engine: MakeEngine = TorchEngine) -> Engines:
    """Engines of a task's networks; without a stage that uses discriminators there is no engine for them."""

    def engine(module: nn.Module, lr: float) -> Engine:
        module = with_global_batch_norm(module)
        return make_engine(module, Adam(module.parameters(), lr=lr, betas=config.betas))

    critics = {name: task.critics[name].network for stage in task.stages for name in stage.critics}
    return Engines(
        generator=engine(task.generator, config.generator_lr),
        discriminators=engine(nn.ModuleDict(critics), config.discriminator_lr) if critics else None,
    )
