"""A generator as an ONNX file that gives what PyTorch gives. ONNX's packages are imported only when one is written."""

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from aign.data.streams import rows
from aign.errors import UserError
from aign.options import CheckedOptions

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
MOST_DIFFERENCE = 1e-3
"""Between what onnxruntime and PyTorch give, in parts of an output's largest magnitude."""
Opset = Annotated[int, Ge(18), Le(23)]
"""Version of ONNX's operators: PyTorch writes from 18, and knows up to 23."""
OPSET = 20
"""What is written if nobody asks for another one."""


@dataclass(frozen=True, kw_only=True)
class OnnxOptions(CheckedOptions):
    """How a file is written."""

    opset: Opset = OPSET
    """Version of ONNX's operators that the file uses: a newer one for what is written with it, an older one for what
    cannot read it otherwise."""


@dataclass(frozen=True, kw_only=True)
class Port:
    """An input or output of a file."""

    name: str
    """What the file calls it."""
    shape: tuple[int | str, ...]
    """The first dimension is ``batch``, of any size."""
    dtype: str


@dataclass(frozen=True, kw_only=True)
class OnnxReport:
    """What a file takes and gives, and how closely that was found to be what PyTorch gives."""

    opset: int
    inputs: Mapping[str, Port]
    """By the name of what is observed."""
    outputs: Mapping[str, Port]
    """By the name of the factor."""
    largest_difference: float
    """Of any output from PyTorch's, in parts of its largest magnitude."""


def write_onnx(
    generator: nn.Module, observed_example: dict[str, Tensor], file: Path | str, *, opset: int = OPSET
) -> OnnxReport:
    """Write a generator, in evaluation mode, as one ONNX file of operators ``opset`` for batches of any size.

    The example is two or more samples of what is observed. Inputs have the names of what is observed; outputs have
    those of factors, or inferred_NAME where something observed has the same one.

    onnxruntime first runs it on the example and on its first sample alone. Raises UserError if an output then is more
    than ``MOST_DIFFERENCE`` from PyTorch's, for a generator that cannot be exported, for an opset that PyTorch cannot
    write, and for a missing package; then no file is written.
    """
    opset = OnnxOptions(opset=opset).opset
    _check_packages()
    device = next(generator.parameters()).device
    observed = {name: values.to(device) for name, values in observed_example.items()}
    was_training = generator.training
    generator.eval()
    try:
        with torch.no_grad():
            names = {name: f"inferred_{name}" if name in observed else name for name in generator(observed)}
            model, contents = _export(generator, observed, list(names.values()), opset)
            difference = _largest_difference(contents, generator, observed)
    finally:
        generator.train(was_training)
    Path(file).write_bytes(contents)
    return OnnxReport(
        opset=model.opset_imports[""],
        inputs=dict(zip(observed, map(_port, model.graph.inputs), strict=True)),
        outputs=dict(zip(names, map(_port, model.graph.outputs), strict=True)),
        largest_difference=difference,
    )


def _check_packages() -> None:
    for package in PACKAGES:
        try:
            import_module(package)
        except ImportError as error:
            raise UserError(package, f"is needed to write ONNX ({error})", f"pip install {package}") from None


class _InOrder(nn.Module):
    """A generator that takes tensors in the order of ``names`` and gives a tuple of them."""

    def __init__(self, generator: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.generator, self.names = generator, names

    def forward(self, *observed: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.generator(dict(zip(self.names, observed, strict=True))).values())


def _export(
    generator: nn.Module, observed: dict[str, Tensor], output_names: list[str], opset: int
) -> tuple[Any, bytes]:
    """The onnx_ir.Model, and what its file holds."""
    batch = torch.export.Dim("batch")
    any_size = (tuple({0: batch} for _ in observed),)
    network = _InOrder(generator, tuple(observed)).eval()
    try:
        with _quiet():
            # torch.onnx by itself would give a network that knows only one size of batch a file that does
            graph = torch.export.export(network, tuple(observed.values()), dynamic_shapes=any_size)
            program: Any = torch.onnx.export(
                graph,
                input_names=list(observed),
                output_names=output_names,
                dynamic_shapes=any_size,
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
            # every node has a stack trace, with paths of this machine
            import_module("onnx_ir.passes.common").ClearMetadataAndDocStringPass()(program.model)
            contents = program.model_proto.SerializeToString()
    except Exception as error:  # of many kinds: for what cannot be traced, for operations that ONNX lacks, for size
        raise UserError(
            type(generator).__name__,
            f"cannot be exported to ONNX ({_why(error.__cause__ or error)})",
            "write its forward for any size of batch, without branches on values, with operations that ONNX has",
        ) from error
    if (written := program.model.opset_imports[""]) != opset:  # where operations cannot be converted
        raise UserError(f"opset = {opset}", f"this network can only be written in {written}", f"use {written}")
    return program.model, contents


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on itself; what matters it raises."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _largest_difference(contents: bytes, generator: nn.Module, example: dict[str, Tensor]) -> float:
    """Between onnxruntime's outputs and PyTorch's. Raises UserError if it is too large, or nothing is given."""
    largest = 0.0
    for observed in (example, {name: values[:1] for name, values in example.items()}):
        expected = generator(observed)
        found = _run(contents, observed, type(generator).__name__)
        for (name, ours), theirs in zip(expected.items(), found, strict=True):
            difference = _difference(theirs, ours.cpu())
            if not difference <= MOST_DIFFERENCE:  # nor if it is not a number
                raise UserError(
                    f"output {name}",
                    f"of {rows(observed)} samples differs by {difference:.1e} of its largest magnitude between PyTorch "
                    f"and onnxruntime, more than {MOST_DIFFERENCE:g}",
                    "train it further, if it is so new that rounding alone does this, or use it in PyTorch",
                )
            largest = max(largest, difference)
    return largest


def _run(contents: bytes, observed: dict[str, Tensor], generator: str) -> list[Tensor]:
    try:
        session = import_module("onnxruntime").InferenceSession(contents, providers=["CPUExecutionProvider"])
        given = session.run(None, {name: values.cpu().numpy() for name, values in observed.items()})
        return [torch.from_numpy(values) for values in given]
    except Exception as error:  # onnxruntime's own, which have no base of their own
        raise UserError(
            generator,
            f"onnxruntime cannot run its ONNX file on {rows(observed)} samples ({_why(error)})",
            "use the network in PyTorch, or write its forward with other operations",
        ) from error


def _difference(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape:
        return float("inf")
    found, expected = found.double(), expected.double()
    return ((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30)).item()


def _why(error: BaseException) -> str:
    """The first paragraph of the error's text; the others are advice on how to debug PyTorch."""
    return str(error).partition("\n\n")[0]


def _port(value: Any) -> Port:
    """Of an onnx_ir.Value."""
    shape = tuple(size if isinstance(size, int) else str(size) for size in value.shape)
    return Port(name=value.name, shape=shape, dtype=str(value.dtype.numpy()))
