"""The two players of a run, each in an engine: the generator and all discriminators."""

from collections.abc import Callable
from dataclasses import replace

from torch import nn
from torch.optim import Adam, Optimizer

from aign.tasks.base import Task
from aign.training.acceleration import Acceleration, accelerate, check_acceleration
from aign.training.batch_norm import with_global_batch_norm
from aign.training.config import TrainingConfig
from aign.training.engine import Engine, TorchEngine
from aign.training.step import Engines
from aign.training.updates import Updates

MakeEngine = Callable[[nn.Module, Optimizer, Updates], Engine]


def make_engines(
    task: Task, config: TrainingConfig, make_engine: MakeEngine = TorchEngine, how: Acceleration | None = None
) -> Engines:
    """Engines of a task's networks; without a stage that uses discriminators there is no engine for them.

    Discriminators with a gradient penalty are not compiled, because compiled networks have no second derivative.
    """
    how = how or Acceleration()
    names = {name: None for stage in task.objective.stages for name in stage.discriminators}
    check_acceleration([task.model.generator, *(task.discriminators[name].network for name in names)], how)

    def engine(module: nn.Module, lr: float, ema: float = 0.0) -> Engine:
        learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
        adam = Adam(learning, lr=lr, betas=config.betas, fused=True)
        return make_engine(module, adam, Updates(clip=config.clip, ema=ema, scale_loss=config.precision == "fp16"))

    generator = accelerate(with_global_batch_norm(task.model.generator), how)
    differentiated_once = replace(how, compile=how.compile and not config.r1)
    discriminators = {
        name: accelerate(with_global_batch_norm(task.discriminators[name].network), differentiated_once)
        for name in names
    }
    return Engines(
        generator=engine(generator, config.generator_lr, config.ema),
        discriminators=engine(nn.ModuleDict(discriminators), config.discriminator_lr) if discriminators else None,
    )
