"""Stored weights, loaded into a network that they fit."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from aign.errors import UserError

_REMEDY = "use the options that these weights were trained with, or other weights"


def load_weights(
    module: nn.Module,
    weights: dict[str, Tensor],
    *,
    where: object,
    load_into: Callable[[nn.Module, dict[str, Tensor]], Any] = nn.Module.load_state_dict,
) -> None:
    """Load a state dict that is stored ``where``; ``load_into`` may first give the network other sizes.

    Raises UserError for values that are not finite, and for the first tensor that does not fit.
    """
    check_finite(weights, where)
    try:
        load_into(module, weights)
    except (RuntimeError, IndexError, KeyError, ValueError) as error:
        reason = misfit(module.state_dict(), weights) or str(error).splitlines()[0]
        raise UserError(where, f"its weights do not fit the network: {reason}", _REMEDY) from None


def check_finite(weights: Mapping[str, Tensor], where: object) -> None:
    """Raises UserError for the first tensor that is not finite everywhere."""
    for name, values in weights.items():
        if not torch.isfinite(values).all():
            count = int((~torch.isfinite(values)).sum())
            reason = f"{count} of {values.numel()} values of {name} are not finite"
            raise UserError(where, reason, "use an earlier checkpoint, or train it again")


def misfit(own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> str | None:
    """The first tensor that a network and stored weights do not share, with both shapes; None if all fit."""
    for name in sorted(own.keys() | stored.keys()):
        if name not in stored:
            return f"{name} is missing"
        if name not in own:
            return f"{name} is not part of it"
        if own[name].shape != stored[name].shape:
            return f"{name} is {tuple(stored[name].shape)}, expected {tuple(own[name].shape)}"
    return None
