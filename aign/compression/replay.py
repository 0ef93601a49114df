"""A network run from its graph, with other weights than its own, some values of which are kept."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.export.graph_signature import InputKind

from aign.compression.anatomy import Anatomy


class Replay(fx.Interpreter):
    """Runs what was dissected; gradients flow to the weights.

    The weights may be those of a thinner network: sizes of channels are nowhere in the graph.
    """

    def __init__(self, anatomy: Anatomy) -> None:
        super().__init__(anatomy.program.graph_module)
        self.anatomy = anatomy
        self._wanted: Collection[str] = ()
        self._kept: dict[str, Any] = {}

    def infer(self, weights: Mapping[str, Tensor], observed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the network infers with these weights, parameters and buffers by name."""
        outputs = self.run(*self._arguments(weights, observed))
        return dict(zip(self.anatomy.outputs, outputs, strict=True))

    def look(
        self, weights: Mapping[str, Tensor], observed: Mapping[str, Tensor], wanted: Collection[str]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What is inferred, and the values of nodes by name."""
        self._wanted, self._kept = wanted, {}
        inferred, kept = self.infer(weights, observed), self._kept
        self._wanted, self._kept = (), {}
        return inferred, kept

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.name in self._wanted:
            self._kept[n.name] = value
        return value

    def _arguments(self, weights: Mapping[str, Tensor], observed: Mapping[str, Tensor]) -> list[Tensor]:
        program = self.anatomy.program
        given = iter([observed[name] for name in self.anatomy.inputs])
        device = next(iter(observed.values())).device
        arguments = []
        for spec in program.graph_signature.input_specs:
            if spec.kind == InputKind.USER_INPUT:
                arguments.append(next(given))
            elif spec.kind == InputKind.CONSTANT_TENSOR:
                arguments.append(program.constants[spec.target].to(device))
            else:
                assert spec.target is not None
                arguments.append(_stored(program, weights, spec.target.removeprefix("network.")).to(device))
        return arguments


def _stored(program: Any, weights: Mapping[str, Tensor], name: str) -> Tensor:
    if name in weights:
        return weights[name]
    return program.constants[f"network.{name}"]  # a buffer that is no part of a state dict


def applied(anatomy: Anatomy, names: Collection[str], value: Tensor) -> Tensor:
    """Elementwise nodes, one after the other, on another value."""
    for name in names:
        node = anatomy.nodes[name]
        rest = torch.fx.node.map_arg(node.args[1:], lambda _: None)
        value = node.target(value, *rest, **node.kwargs)  # type: ignore[operator, misc]
    return value
