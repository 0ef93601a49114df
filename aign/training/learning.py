"""Which parts of a network learn in a stage, and how fast. Parts are submodules, by their names in it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from aign.tasks.parts import GeneratorPart

REST = ""
"""The part that consists of all that is in no other."""
Trained = Collection[str] | None
"""Names of the parts that learn in a stage; None: all that are not frozen."""


def freeze(network: nn.Module, parts: Mapping[str, GeneratorPart]) -> None:
    """Exclude frozen parts from what any optimizer is made of."""
    for name, part in parts.items():
        if part.frozen:
            network.get_submodule(name).requires_grad_(False)


def parameter_groups(
    network: nn.Module, parts: Mapping[str, GeneratorPart], stages: Sequence[Trained], lr: float
) -> list[dict[str, Any]]:
    """An optimizer's groups of parameters: one for each learning rate and set of stages that parameters learn in.

    So the parameters of a group are updated equally often, which sharded optimizers count once a group.
    """
    groups: dict[tuple[float, tuple[bool, ...]], list[nn.Parameter]] = {}
    learning = [learning_parts(parts, trained) for trained in stages]
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            part = part_of(name, parts)
            rate = lr * parts[part].lr_factor if part else lr
            groups.setdefault((rate, tuple(part in names for names in learning)), []).append(parameter)
    return [{"params": parameters, "lr": rate} for (rate, _), parameters in groups.items()]


@contextmanager
def only_learning(network: nn.Module, parts: Mapping[str, GeneratorPart], trained: Trained) -> Iterator[None]:
    """While it lasts, the parts that do not learn collect no gradients and are in evaluation mode.

    So neither weights nor statistics of batch norm change in them, and engines leave their optimizer state alone. A
    module keeps its mode if a part that learns is inside of it.
    """
    learning = learning_parts(parts, trained)
    if learning >= {REST, *parts}:
        yield
        return
    parameters = [
        p for name, p in network.named_parameters() if p.requires_grad and part_of(name, parts) not in learning
    ]
    modules = [m for name, m in network.named_modules() if m.training and not _touches(name, parts, learning)]
    for parameter in parameters:
        parameter.requires_grad_(False)
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
        for module in modules:
            module.training = True


def part_of(name: str, parts: Collection[str]) -> str:
    """The part that a parameter or module belongs to."""
    return next((part for part in parts if f"{name}.".startswith(f"{part}.")), REST)


def learning_parts(parts: Mapping[str, GeneratorPart], trained: Trained) -> set[str]:
    """Names of the parts that learn."""
    if trained is not None:
        return set(trained)
    return {REST, *(name for name, part in parts.items() if not part.frozen)}


def _touches(name: str, parts: Collection[str], learning: Collection[str]) -> bool:
    """Whether a module belongs to a part that learns, or such a part is inside of it."""
    contains_one = not name or any(f"{part}.".startswith(f"{name}.") for part in learning)
    return part_of(name, parts) in learning or contains_one
