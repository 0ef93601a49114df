"""Networks in half precision; weights, optimizers, renderers and losses stay in float32."""

from typing import Any, Literal

import torch
from torch import nn

Precision = Literal["fp32", "bf16", "fp16"]
HALF_GRADIENT_SCALE = 2.0**10
"""Factor of a gradient that is part of a loss on its way through float16, whose smallest number is 6e-8."""
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def in_precision(precision: Precision, network: nn.Module, inputs: Any) -> Any:
    """A network's output (a tensor or a dict of them) as float32, computed in the given precision.

    The cast cache is off: it would outlive an optimizer step between two forwards and serve stale weights.
    """
    if precision == "fp32":
        return network(inputs)
    device = next(network.parameters()).device.type
    with torch.autocast(device, DTYPES[precision], cache_enabled=False):
        output = network(inputs)
    if isinstance(output, dict):
        return {name: value.float() for name, value in output.items()}
    return output.float()
