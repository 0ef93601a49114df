"""A device that any machine has: its tensors are kept on the CPU, but mix with CPU tensors as little as a GPU's do.

Within ``far_device()``, ``torch.device("meta")`` means this device. Tensors there have values, so whole
trainings, evaluations and pictures run. As on a GPU, an operation on tensors of two devices fails, ``numpy()`` fails,
and values arrive through ``cpu()``, ``item()`` and ``tolist()``. It is as quick as a CPU that calls Python for each
operation.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.optim import Adam
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

FAR = torch.device("meta")  # a GPU's own could not be pretended: autograd asks the driver for its threads
COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
INDEXING = {
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put.default,
    torch.ops.aten.index_put_.default,
    torch.ops.aten._index_put_impl_.default,
}


class FarTensor(Tensor):
    """A tensor that says it is far, and what it holds."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> "FarTensor":
        how = {"dtype": values.dtype, "device": FAR, "strides": values.stride()}
        made = Tensor._make_wrapper_subclass(cls, values.size(), storage_offset=values.storage_offset(), **how)  # type: ignore[attr-defined]
        made.values = values
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return on_values(func, args, kwargs or {})

    def __repr__(self, **how: Any) -> str:
        return f"far {self.values!r}"

    def __format__(self, form: str) -> str:
        return format(self.values, form)


@contextmanager
def far_device() -> Iterator[torch.device]:
    """While it lasts, what is made on ``FAR`` is a FarTensor."""
    with what_the_meta_device_lacks(), _Operations(), _Data():
        yield FAR


@contextmanager
def what_the_meta_device_lacks() -> Iterator[None]:
    """Fused Adam and autocast know no meta device: plain ones and none stand for them."""
    plain = patch("aign.training.players.Adam", lambda parameters, fused, **options: Adam(parameters, **options))
    with plain, patch("torch.autocast", lambda *device, **options: nullcontext()):
        yield


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return on_values(func, args, kwargs or {})


class _Data(TorchFunctionMode):
    """Tensors of Python's numbers and the way back, which PyTorch does without telling others."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.tolist and isinstance(args[0], FarTensor):
            return args[0].values.tolist()
        if func is Tensor.new_tensor and args[0].device == FAR:
            return torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype)).to(FAR)
        if func in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu") == FAR:
            made = func(*args, **{**kwargs, "device": "cpu"})
            return made.detach().to(FAR).requires_grad_(made.requires_grad)
        return func(*args, **kwargs)


def on_values(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operation gives; on the far device if its inputs are there, or if it is told to make something there."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    far = any(isinstance(tensor, FarTensor) for tensor in tensors)
    if far and func not in COPIES:
        near = [tensor for tensor in tensors if not isinstance(tensor, FarTensor) and tensor.dim()]
        near = [] if func in INDEXING and isinstance(args[0], FarTensor) else near  # which a GPU takes
        assert not near, f"{func} mixes far tensors with {[tuple(tensor.shape) for tensor in near]} of the CPU"
    asked = kwargs.get("device")
    goes_far = far if asked is None else torch.device(asked) == FAR
    if goes_far and asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    given = func(*_near(args), **_near(kwargs))
    if func in COPIES and func is not torch.ops.aten._to_copy.default:
        return args[0]
    if not goes_far:
        return given
    return _as_given(given, tensors)


def _near(tree: Any) -> Any:
    return tree_map_only(FarTensor, lambda tensor: tensor.values, tree)


def _as_given(given: Any, tensors: list[Tensor]) -> Any:
    """The outputs, wrapped; one that is an input is that input."""
    known = {id(tensor.values): tensor for tensor in tensors if isinstance(tensor, FarTensor)}

    def wrapped(tensor: Tensor) -> Tensor:
        return known[id(tensor)] if id(tensor) in known else FarTensor(tensor)

    return tree_map_only(Tensor, wrapped, given)
