"""What PyTorch's operations do to channels: the one place that knows them by name."""

import math
from dataclasses import dataclass
from typing import Any

from torch import fx

LAYER = "layer"
BATCH_NORM = "batch norm"
CHANNELWISE = "each channel by itself"
CONCATENATION = "concatenation"
FLATTENING = "flattening"
SIZE = "sizes only"
OTHER = "anything else"

_ELEMENTWISE = (
    *("abs", "neg", "square", "sqrt", "exp", "log", "logit", "clamp", "clamp_min", "clamp_max", "hardtanh"),
    *("relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "softplus", "hardswish"),
    *("sigmoid", "hardsigmoid", "tanh", "dropout", "to", "_to_copy", "alias", "clone", "contiguous", "detach"),
)
_WITH_NUMBERS = ("add", "sub", "mul", "div", "pow", "rsub")
"""Elementwise where the other operand is a number."""
_SPATIAL = (
    *(f"{kind}_pool{n}d" for kind in ("avg", "max", "adaptive_avg", "adaptive_max") for n in (1, 2, 3)),
    *(f"upsample_nearest{n}d" for n in (1, 2, 3)),
    *("upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d"),
)
"""These take channels along the first axis but one."""
_REDUCTIONS = ("mean", "sum", "amax", "amin")
_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
_TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


@dataclass(frozen=True)
class LayerNode:
    """The arguments of a layer that matter here."""

    kind: str
    input: fx.Node
    weight: fx.Node
    bias: fx.Node | None
    groups: int
    out_axis: int
    in_axis: int
    reads_axis: int
    """Along which the channels of its input lie, and those of its output."""


@dataclass(frozen=True)
class BatchNormNode:
    """The arguments of a batch norm that matter here."""

    input: fx.Node
    mean: Any
    training: bool


def name_of(node: fx.Node) -> str:
    """relu for aten.relu_.default."""
    name: str = getattr(node.target, "_opname", None) or getattr(node.target, "__name__", "") or str(node.target)
    return name if name.startswith("_") else name.rstrip("_")


def said(node: fx.Node) -> str:
    """Why an operation needs its channels as they are."""
    name = name_of(node)
    if name == "add":
        return "is added to something else, as at the end of a residual block"
    if name == "wrap_with_autocast":
        return "is read where the precision changes"
    return f"is read by '{name}'"


def is_check(node: fx.Node) -> bool:
    """Whether it only asserts something."""
    return node.op == "call_function" and name_of(node).startswith("_assert")


def kind_of(node: fx.Node) -> str:
    """One of the kinds above."""
    name = name_of(node)
    if name in (*_CONVOLUTIONS, *_TRANSPOSED, "linear"):
        return LAYER
    kinds = {"batch_norm": BATCH_NORM, "cat": CONCATENATION, "flatten": FLATTENING, "sym_size": SIZE}
    if name in kinds:
        return kinds[name]
    with_number = name in _WITH_NUMBERS and len(node.all_input_nodes) == 1 and node.args[0] in node.all_input_nodes
    if with_number or name in (*_ELEMENTWISE, *_SPATIAL, *_REDUCTIONS, "constant_pad_nd", "pad", "slice"):
        return CHANNELWISE
    return OTHER


def layer_of(node: fx.Node) -> LayerNode:
    """A node of kind LAYER."""
    name = name_of(node)
    given = _arguments(node)
    if name == "linear":
        last = node.args[0].meta["val"].ndim - 1  # type: ignore[union-attr]
        return LayerNode(name, node.args[0], node.args[1], given.get("bias"), 1, 0, 1, last)  # type: ignore[arg-type]
    transposed = name in _TRANSPOSED
    axes = (1, 0) if transposed else (0, 1)
    return LayerNode(name, node.args[0], node.args[1], given.get("bias"), given.get("groups", 1), *axes, 1)  # type: ignore[arg-type]


def batch_norm_of(node: fx.Node) -> BatchNormNode:
    """A node of kind BATCH_NORM."""
    given = _arguments(node)
    return BatchNormNode(given["input"], given["running_mean"], given["training"])


def concatenated(node: fx.Node) -> tuple[list[fx.Node], int]:
    """The parts of a concatenation, and its axis."""
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    return list(node.args[0]), axis % node.meta["val"].ndim  # type: ignore[operator, return-value, arg-type]


def axis_after(node: fx.Node, axis: int) -> int | None:
    """Where channels along ``axis`` lie afterwards; None if a CHANNELWISE node mixes or chooses among them."""
    name, ndim = name_of(node), node.args[0].meta["val"].ndim  # type: ignore[union-attr]
    given = _arguments(node)
    if name in _SPATIAL:
        return axis if axis == ndim - (1 + int(name[name.rindex("d") - 1])) else None
    if name in _REDUCTIONS:
        axes = given.get("dim")
        gone = {one % ndim for one in ([axes] if isinstance(axes, int) else axes or range(ndim))}
        if axis in gone:
            return None
        return axis if given.get("keepdim") else axis - sum(one < axis for one in gone)
    if name in ("constant_pad_nd", "pad"):
        return axis if axis < ndim - len(given["pad"]) // 2 else None
    if name == "slice":
        return axis if given.get("dim", 0) % ndim != axis else None
    return axis


def positions_flattened(node: fx.Node, axis: int) -> int | None:
    """How many neighbours become one channel's; None if channels are not the first of what is flattened."""
    before, given = node.args[0].meta["val"], _arguments(node)  # type: ignore[union-attr]
    first, last = given.get("start_dim", 0) % before.ndim, given.get("end_dim", -1) % before.ndim
    sizes = before.shape[axis + 1 : last + 1]
    return math.prod(sizes) if first == axis and all(isinstance(size, int) for size in sizes) else None


def keeps_shape(after: fx.Node, before: fx.Node) -> bool:
    """Whether a node is an elementwise one, or a sum, of something of the same shape: not a layer."""
    if kind_of(after) == LAYER or after.op != "call_function":
        return False
    shapes = [getattr(node.meta.get("val"), "shape", None) for node in (after, before)]
    elementwise = name_of(after) in (*_ELEMENTWISE, *_WITH_NUMBERS, "batch_norm")
    return elementwise and shapes[0] is not None and shapes[0] == shapes[1]


def _arguments(node: fx.Node) -> dict[str, Any]:
    """All arguments by name, without those that are left at their defaults and the schema does not tell."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return dict(node.kwargs)
    names = [argument.name for argument in schema.arguments]
    defaults = {argument.name: argument.default_value for argument in schema.arguments if argument.has_default_value()}
    return defaults | dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
