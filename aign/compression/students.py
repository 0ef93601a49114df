"""Networks that learn to do what a trained one does: through projections, or with kernels that are thin already.

Both infer what a generator infers. In training they also give ``FEATURES``, one number a sample: how far what the next
layers make of it is from what they make in the teacher, the sum of the normalised reconstruction losses (Eq. 9, 11).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from aign.compression.anatomy import Anatomy
from aign.compression.folding import Projections, folded, half_folded, with_outputs_folded
from aign.compression.polar import Proxy
from aign.compression.replay import Replay, applied

FEATURES = "features"
NETWORK = "network."
"""What the names of a thin network's weights begin with, among those of its student."""
_DOT = "/"
"""In place of the dots of names, which names of modules and buffers must not have."""


class Frozen(nn.Module):
    """Weights that are kept and never learnt: buffers, which no optimizer changes and no engine divides."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, value in weights.items():
            self.register_buffer(name.replace(".", _DOT), value.detach().clone())

    def forward(self) -> dict[str, Tensor]:
        """The weights by name."""
        return {name.replace(_DOT, "."): value for name, value in self.named_buffers()}


class Teacher(nn.Module):
    """The trained network: what some of its layers make of what is observed."""

    def __init__(self, anatomy: Anatomy, weights: Mapping[str, Tensor], layers: Iterable[str]) -> None:
        super().__init__()
        self.nodes = {layer: anatomy.outlets[layer].node for layer in layers}
        self.weights = Frozen(weights)
        self._replay = Replay(anatomy)
        self.scales: Tensor
        self.register_buffer("scales", torch.ones(len(self.nodes)))

    @torch.no_grad()
    def forward(self, observed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is read behind these layers, by layer."""
        values = self._replay.look(self.weights(), observed, set(self.nodes.values()))[1]
        return {layer: values[node] for layer, node in self.nodes.items()}

    @torch.no_grad()
    def calibrate(self, observed: Mapping[str, Tensor]) -> None:
        """Fix what losses are normalised by: the mean square of what each layer makes of these samples."""
        squares = torch.stack([values.float().square().mean() for values in self(observed).values()])
        self.scales.copy_(squares.clamp(min=torch.finfo(torch.float32).tiny))

    def distance(self, observed: Mapping[str, Tensor], made: Mapping[str, Tensor]) -> Tensor:
        """The sum over layers of normalised squared errors, one number a sample, for the layers that are ``made``."""
        taught = self(observed)
        scales = dict(zip(self.nodes, self.scales, strict=True))
        errors = [
            (values.float() - taught[layer].float()).square().flatten(1).mean(1) / scales[layer]
            for layer, values in made.items()
        ]
        return torch.stack(errors).sum(0)


class Student(nn.Module):
    """What all have in common: a network's own attributes, such as a learnt loss that is kept in it, are theirs too."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._stands_for = (network,)  # a tuple, because it need not be a part of what is learnt

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if "_stands_for" not in self.__dict__:
                raise
            return getattr(self._stands_for[0], name)

    def thin_weights(self) -> dict[str, Tensor]:
        """The weights of the thinner network that it has become."""
        return dict(self._stands_for[0].state_dict())


class Projected(Student):
    """A network whose layers are projected by matrices that are learnt; its own weights never change.

    ``start`` are the weights that are projected, thinner than the teacher's if it is not the first round.
    """

    def __init__(
        self,
        network: nn.Module,
        anatomy: Anatomy,
        teacher: Mapping[str, Tensor],
        start: Mapping[str, Tensor],
        projections: Projections,
    ) -> None:
        super().__init__(network)
        self.teacher = Teacher(anatomy, teacher, anatomy.readers(*projections))
        self.start = Frozen(start)
        self.proxies = nn.ModuleDict({name.replace(".", _DOT): Proxy(p) for name, p in projections.items()})
        self._replay, self._again = Replay(anatomy), _Again(anatomy, projections)

    def projections(self) -> dict[str, Tensor]:
        """P by layer."""
        return {name.replace(_DOT, "."): proxy() for name, proxy in self.proxies.items()}

    def thin_weights(self) -> dict[str, Tensor]:
        return folded(self._replay.anatomy, self.start(), self.projections())

    def forward(self, observed: dict[str, Tensor]) -> dict[str, Tensor]:
        projections = self.projections()
        anatomy = self._replay.anatomy
        half = half_folded(anatomy, self.start(), projections)
        weights = with_outputs_folded(anatomy, half, projections)
        if not self.training:
            return self._replay.infer(weights, observed)
        whole = {layer: node for layer, node in self.teacher.nodes.items() if layer not in self._again.reads}
        inferred, values = self._replay.look(weights, observed, {*whole.values(), *self._again.reads.values()})
        made = {layer: values[node] for layer, node in whole.items()}
        made |= self._again(values, half, self.teacher.nodes)
        return {**inferred, FEATURES: self.teacher.distance(observed, made)}


class _Again:
    """What layers would give that read projected channels if their own were not projected (the norm of Eq. 7).

    Their own channels are others than the teacher's, so all of them are computed once more to be compared.
    """

    def __init__(self, anatomy: Anatomy, projected: Projections) -> None:
        self.anatomy = anatomy
        self.reads = {name: anatomy.read_by(name) for name in projected}

    def __call__(
        self, values: Mapping[str, Tensor], half: Mapping[str, Tensor], wanted: Mapping[str, str]
    ) -> dict[str, Tensor]:
        return {name: self._one(name, values[read], half) for name, read in self.reads.items() if name in wanted}

    def _one(self, name: str, value: Tensor, half: Mapping[str, Tensor]) -> Tensor:
        layer, node = self.anatomy.layers[name], self.anatomy.node_of(name)
        bias = half[layer.bias] if layer.bias is not None else None
        output = node.target(value, half[layer.weight], bias, *node.args[3:], **node.kwargs)  # type: ignore[operator]
        return applied(self.anatomy, self.anatomy.outlets[name].chain, output)


class Thin(Student):
    """A thin network whose kernels go on learning.

    ``anatomy`` is its own. It is compared with the teacher where it has as many channels; ``names`` are those of the
    teacher's layers in it, where they are others.
    """

    def __init__(self, network: nn.Module, anatomy: Anatomy, teacher: Teacher, names: Mapping[str, str]) -> None:
        super().__init__(network)
        self.network, self.teacher = network, teacher
        self._replay = Replay(anatomy)
        self._nodes = {layer: anatomy.outlets[own].node for layer, own in names.items()}

    def forward(self, observed: dict[str, Tensor]) -> dict[str, Tensor]:
        if not self.training:
            return self.network(observed)
        weights = dict(self.network.named_parameters()) | dict(self.network.named_buffers())
        inferred, values = self._replay.look(weights, observed, set(self._nodes.values()))
        made = {layer: values[node] for layer, node in self._nodes.items()}
        return {**inferred, FEATURES: self.teacher.distance(observed, made)}


class Scratch(Student):
    """A thin network without a teacher."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.network = network

    def forward(self, observed: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.network(observed)


def network_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of the weights of a student with thin kernels, those of its network."""
    return {name.removeprefix(NETWORK): value for name, value in weights.items() if name.startswith(NETWORK)}
