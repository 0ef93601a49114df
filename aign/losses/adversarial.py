"""Losses between a discriminator and a generator, from logits (large: remembered)."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

AdversarialLoss = Literal["bce", "least-squares"]
Logits = Float[Tensor, " batch"]


def discriminator_loss(remembered: Logits, inferred: Logits, kind: AdversarialLoss) -> Float[Tensor, ""]:
    """What a discriminator minimises, averaged over its two inputs: at chance log 2 = 0.693 for ``bce``.

    ``bce`` is the negative log-likelihood of the paper (Eq. 1), ``least-squares`` is Mao et al. (ICCV 2017).
    """
    if kind == "bce":
        return 0.5 * (softplus(-remembered).mean() + softplus(inferred).mean())
    return 0.5 * ((remembered - 1).square().mean() + inferred.square().mean())


def generator_loss(inferred: Logits, kind: AdversarialLoss) -> Float[Tensor, ""]:
    """What a generator minimises to be taken for a memory (non-saturating): at chance log 2 for ``bce``."""
    if kind == "bce":
        return softplus(-inferred).mean()
    return (inferred - 1).square().mean()


def r1_penalty(remembered_logits: Logits, remembered: Tensor, scale: float = 1.0) -> Float[Tensor, ""]:
    """Zero-centred gradient penalty on memories, E |dD/dx|^2 (Mescheder et al., ICML 2018).

    ``remembered`` must require gradients; the result can be differentiated again. The gradient is ``scale`` times as
    large while it passes through the discriminator, so that it does not underflow in half precision.
    """
    (gradient,) = torch.autograd.grad(scale * remembered_logits.sum(), remembered, create_graph=True)
    return (gradient / scale).flatten(1).square().sum(-1).mean()
