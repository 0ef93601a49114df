"""Which layers of a network can be made thinner, found in the graph of what it computes.

A layer's output channels can be projected if everything that reads them can fold the projection into its own weights:
channel by channel they pass through nonlinearities, poolings and concatenations to convolutions and linear layers.
Wherever something else reads them (a sum of a residual block, a normalisation over channels, the network's output) they
stay, and the reason is told.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, export
from torch.nn import functional

from aign.compression import operations
from aign.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A layer that reads channels of another, and where among its own inputs they lie."""

    layer: str
    offset: int
    """First of the layer's inputs that is theirs."""
    positions: int
    """Inputs for each channel: more than one where an image was flattened."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A convolution, transposed convolution or linear layer. Names are those of the network's state dict."""

    name: str
    weight: str
    bias: str | None
    node: str
    out_axis: int
    in_axis: int
    num_out: int
    num_in: int
    num_taps: int
    """Weights between an input and an output channel."""


@dataclass(frozen=True, kw_only=True)
class BatchNorm:
    """A batch norm right behind a layer."""

    name: str
    layer: str


@dataclass(frozen=True, kw_only=True)
class Outlet:
    """Where what a layer gives is read: behind its nonlinearity, or behind the sum that ends a residual block."""

    layer: str
    node: str
    chain: tuple[str, ...]
    """Nodes from the layer's own on, without it."""
    is_sum: bool
    """Whether something else is added on the way, as at the end of a residual block."""


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """What a network consists of, by name of layer in the order of computation."""

    layers: Mapping[str, Layer]
    readings: Mapping[str, tuple[Reading, ...]]
    """Who reads a layer's channels, for those layers whose channels may be projected."""
    left: Mapping[str, str]
    """Why the channels of all others stay."""
    outlets: Mapping[str, Outlet]
    batch_norms: tuple[BatchNorm, ...]
    """Those that can be folded into the layer before them."""
    program: ExportedProgram = field(repr=False)
    nodes: Mapping[str, fx.Node] = field(repr=False)
    """Those of the program, by name."""
    inputs: tuple[str, ...]
    """Names of what is observed, in the program's order."""
    outputs: tuple[str, ...]

    def node_of(self, layer: str) -> fx.Node:
        """The node that a layer is."""
        return self.nodes[self.layers[layer].node]

    def read_by(self, layer: str) -> str:
        """The name of the node whose values a layer reads."""
        return operations.layer_of(self.node_of(layer)).input.name

    def readers(self, *layers: str) -> tuple[str, ...]:
        """The layers that read channels of these, which may be projected: what is lost shows at their outlets."""
        return tuple(dict.fromkeys(reading.layer for layer in layers for reading in self.readings[layer]))


class _Positional(nn.Module):
    """A network from a dict to a dict, as one from tensors to a tuple."""

    def __init__(self, network: nn.Module, inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.inputs = network, inputs

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network(dict(zip(self.inputs, tensors, strict=True))).values())


def dissect(network: nn.Module, observed: Mapping[str, Tensor]) -> Anatomy:
    """The anatomy of a network that maps a dict of tensors (samples first) to such a dict, in evaluation mode.

    ``observed`` is an example of two samples or more; the number of samples does not matter. Raises UserError for a
    network whose course of computation depends on values or on the number of samples.
    """
    was_training = network.training
    positional = _Positional(network.eval(), tuple(observed))
    batch = tuple({0: Dim.DYNAMIC} for _ in observed)
    try:
        with torch.no_grad(), _own_linear():
            outputs = tuple(network(dict(observed)))
            program = export(positional, tuple(observed.values()), dynamic_shapes=(batch,))
    except Exception as error:
        reason = f"cannot be drawn as a graph ({str(error).strip().splitlines()[0]})"
        raise UserError(type(network).__name__, reason, "leave out what depends on values") from None
    finally:
        network.train(was_training)
    for node in list(program.graph.nodes):
        if operations.is_check(node):  # of types, which lower precision changes
            program.graph.erase_node(node)
    return _Walk(program, tuple(observed), outputs).anatomy()


@contextmanager
def _own_linear() -> Iterator[None]:
    """PyTorch's linear function, in whose place DeepSpeed puts one of several operations for the whole process."""
    before, functional.linear = functional.linear, torch._C._nn.linear
    try:
        yield
    finally:
        functional.linear = before


@dataclass(frozen=True)
class _Segment:
    """Some channels of a tensor: those of one layer, or of nobody that could be projected."""

    layer: str | None
    size: int
    positions: int = 1


@dataclass(frozen=True)
class _Layout:
    """Where a tensor's channels lie."""

    axis: int
    segments: tuple[_Segment, ...]


class _Walk:
    """One pass over a graph in the order of computation."""

    def __init__(self, program: ExportedProgram, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        self.program, self.inputs, self.outputs = program, inputs, outputs
        signature = program.graph_signature
        self.stored = {
            name: target.removeprefix("network.")
            for name, target in (signature.inputs_to_parameters | signature.inputs_to_buffers).items()
        }
        self.layouts: dict[str, _Layout] = {}
        self.layers: dict[str, Layer] = {}
        self.readings: dict[str, list[Reading]] = {}
        self.left: dict[str, str] = {}
        self.batch_norms: list[BatchNorm] = []

    def anatomy(self) -> Anatomy:
        for node in self.program.graph.nodes:
            if node.op == "call_function":
                self._visit(node)
            elif node.op == "output":
                self._keep(node, "is what the network gives")
        free = {name: tuple(readings) for name, readings in self.readings.items() if name not in self.left}
        nodes = {node.name: node for node in self.program.graph.nodes}
        return Anatomy(
            layers=self.layers,
            readings=free,
            left=self.left,
            outlets={name: _outlet(layer, nodes) for name, layer in self.layers.items()},
            batch_norms=tuple(self.batch_norms),
            program=self.program,
            nodes=nodes,
            inputs=self.inputs,
            outputs=self.outputs,
        )

    # --- nodes ---------------------------------------------------------------------------------------------------

    def _visit(self, node: fx.Node) -> None:
        kind = operations.kind_of(node)
        visit = {
            operations.LAYER: self._layer,
            operations.BATCH_NORM: self._batch_norm,
            operations.CHANNELWISE: self._channelwise,
            operations.CONCATENATION: self._concatenation,
            operations.FLATTENING: self._flattening,
            operations.SIZE: lambda node: None,
        }.get(kind, partial(self._keep, reason=operations.said(node)))
        visit(node)

    def _layer(self, node: fx.Node) -> None:
        what = operations.layer_of(node)
        weight = self.stored.get(what.weight.name)
        layout = self.layouts.get(what.input.name)
        if weight is None:  # of a parametrisation, say
            self._keep(node, f"is read by a {what.kind} whose weights are computed")
            return
        name = weight.removesuffix(".weight")
        shape = what.weight.meta["val"].shape
        bias = self.stored.get(what.bias.name) if what.bias is not None else None
        shared = any(len(stored.users) > 1 for stored in (what.weight, what.bias) if stored is not None)
        if shared:
            self._keep(node, f"is read by {name}, whose weights are used more than once")
            self.left[name] = "its weights are used more than once"
        if name in self.layers:
            return
        self.layers[name] = Layer(
            name=name,
            weight=weight,
            bias=bias,
            node=node.name,
            out_axis=what.out_axis,
            in_axis=what.in_axis,
            num_out=shape[what.out_axis],
            num_in=shape[what.in_axis],
            num_taps=math.prod(shape[2:]),
        )
        self.readings[name] = []
        if what.groups != 1:
            self._keep(node, f"is read by {name}, whose channels form {what.groups} groups")
            self.left[name] = f"its channels form {what.groups} groups"
        elif layout and layout.axis == what.reads_axis and not shared:
            self._read(name, layout)
        elif layout and not shared:
            self._keep(node, f"is read by {name} along another axis")
        axis = what.reads_axis
        self.layouts[node.name] = _Layout(axis, (_Segment(name, shape[what.out_axis]),))

    def _read(self, name: str, layout: _Layout) -> None:
        offset = 0
        for segment in layout.segments:
            if segment.layer is not None:
                self.readings[segment.layer].append(Reading(layer=name, offset=offset, positions=segment.positions))
            offset += segment.size * segment.positions

    def _batch_norm(self, node: fx.Node) -> None:
        what = operations.batch_norm_of(node)
        before = what.input
        own = next((layer for layer in self.layers.values() if layer.node == before.name), None)
        mean = self.stored.get(what.mean.name) if isinstance(what.mean, fx.Node) else None
        if own and mean and len(before.users) == 1 and not what.training:
            name = mean.removesuffix(".running_mean")
            self.batch_norms.append(BatchNorm(name=name, layer=own.name))
            self.layouts[node.name] = self.layouts[before.name]
            # it holds numbers for each channel until it is folded
            self.left.setdefault(own.name, "is read by a batch norm that is not folded")
        else:
            self._keep(node, "is read by a batch norm that does not follow a layer")

    def _channelwise(self, node: fx.Node) -> None:
        layout = self.layouts.get(node.args[0].name) if isinstance(node.args[0], fx.Node) else None
        if layout is None:
            return
        after = operations.axis_after(node, layout.axis)
        if after is None:
            self._keep(node, operations.said(node))
        else:
            self.layouts[node.name] = replace(layout, axis=after)

    def _concatenation(self, node: fx.Node) -> None:
        parts, axis = operations.concatenated(node)
        layouts = [self.layouts.get(part.name) for part in parts]
        if not any(layouts):
            return
        if any(layout and layout.axis != axis for layout in layouts):
            self._keep(node, "is concatenated along another axis")
            return
        segments = [
            layout.segments if layout else (_Segment(None, part.meta["val"].shape[axis]),)
            for part, layout in zip(parts, layouts, strict=True)
        ]
        self.layouts[node.name] = _Layout(axis, tuple(segment for own in segments for segment in own))

    def _flattening(self, node: fx.Node) -> None:
        layout = self.layouts.get(node.all_input_nodes[0].name)
        if layout is None:
            return
        positions = operations.positions_flattened(node, layout.axis)
        if positions is None:
            self._keep(node, operations.said(node))
            return
        own = tuple(replace(segment, positions=segment.positions * positions) for segment in layout.segments)
        self.layouts[node.name] = _Layout(layout.axis, own)

    def _keep(self, node: fx.Node, reason: str) -> None:
        """All channels that a node reads stay."""
        for before in node.all_input_nodes:
            for segment in self.layouts[before.name].segments if before.name in self.layouts else ():
                if segment.layer is not None:
                    self.left.setdefault(segment.layer, reason)


def _outlet(layer: Layer, nodes: Mapping[str, fx.Node]) -> Outlet:
    node, chain = nodes[layer.node], []
    while len(node.users) == 1:
        after = next(iter(node.users))
        if not operations.keeps_shape(after, node):
            break
        node = after
        chain.append(node.name)
    is_sum = any(len(nodes[name].all_input_nodes) > 1 for name in chain)
    return Outlet(layer=layer.name, node=node.name, chain=tuple(chain), is_sum=is_sum)
