"""The two players of a run as data, and the engine that each is put into."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn
from torch.optim import Adam, Optimizer

from aign.tasks.base import Task
from aign.tasks.parts import GeneratorPart
from aign.training.acceleration import Acceleration, accelerate, check_acceleration
from aign.training.batch_norm import with_global_batch_norm
from aign.training.config import TrainingConfig
from aign.training.engine import Engine, TorchEngine
from aign.training.learning import Trained, freeze, parameter_groups
from aign.training.step import Engines
from aign.training.updates import UpdateOptions

MakeEngine = Callable[[nn.Module, Optimizer, UpdateOptions], Engine]


@dataclass(frozen=True, kw_only=True)
class Player:
    """Networks that one optimizer trains against the other player's.

    ``TrainingConfig`` says how often it is updated (``generator_updates``) and penalised (``penalty_weight``).
    """

    name: str
    network: nn.Module
    lr: float
    ema: float = 0.0
    """Decay of the moving average of its weights; 0: none is kept."""
    parts: Mapping[str, GeneratorPart]
    """Those of its submodules that learn unlike the rest, or not in every stage."""
    trained: Sequence[Trained]
    """The parts that learn, by stage."""


def make_players(task: Task, config: TrainingConfig, how: Acceleration | None = None) -> list[Player]:
    """The generator, and all discriminators that any stage uses, as an ``nn.ModuleDict`` by name.

    Frozen parts no longer require gradients. Discriminators with a gradient penalty are not compiled, because compiled
    networks have no second derivative.
    """
    how, stages = how or Acceleration(), task.objective.stages
    names = {name: None for stage in stages for name in stage.discriminators}
    check_acceleration([task.model.generator, *(task.discriminators[name].network for name in names)], how)
    differentiated_once = replace(how, compile=how.compile and not config.r1)
    networks = {
        name: accelerate(with_global_batch_norm(task.discriminators[name].network), differentiated_once)
        for name in names
    }
    generator = Player(
        name="generator",
        network=accelerate(with_global_batch_norm(task.model.generator), how),
        lr=config.generator_lr,
        ema=config.ema,
        parts=task.model.generator_parts,
        trained=[stage.trains for stage in stages],
    )
    freeze(generator.network, generator.parts)
    if not networks:
        return [generator]
    discriminators = Player(
        name="discriminators",
        network=nn.ModuleDict(networks),
        lr=config.discriminator_lr,
        parts={name: GeneratorPart() for name in networks},
        trained=[stage.discriminators for stage in stages],
    )
    return [generator, discriminators]


def make_engines(
    task: Task, config: TrainingConfig, make_engine: MakeEngine = TorchEngine, how: Acceleration | None = None
) -> Engines:
    """An engine for each player; without a stage that uses discriminators there is none for them."""
    engines = {}
    for player in make_players(task, config, how):
        groups = parameter_groups(player.network, player.parts, player.trained, player.lr)
        adam = Adam(groups, betas=config.betas, fused=True)
        updates = UpdateOptions(clip=config.clip, ema=player.ema, scale_loss=config.precision == "fp16")
        engines[player.name] = make_engine(player.network, adam, updates)
    return Engines(generator=engines["generator"], discriminators=engines.get("discriminators"))
