"""What cascaded projection is compared with: each layer replaced by a thin one and one that projects back.

The truncated singular value decomposition of a kernel, as in Zhang et al. (TPAMI 2016) without their nonlinear part.
It leaves all channels between layers as they are, so it needs more memory and only half as many factors shrink.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from aign.compression.anatomy import Anatomy
from aign.compression.cost import Cost
from aign.compression.ranks import Ranks, largest_within
from aign.compression.thinning import BACK, THIN


def factorised_macs(anatomy: Anatomy, cost: Cost, ranks: Mapping[str, int]) -> float:
    """Multiplications that are left of the whole network's ``cost``, those that project back included."""
    total = cost.macs
    for name, rank in ranks.items():
        own = cost.layers[name]
        total += own.num_outputs * rank - own.macs * (1 - rank / anatomy.layers[name].num_out)
    return total


def factorised_within_macs(anatomy: Anatomy, cost: Cost, part: float) -> Ranks:
    """The largest ranks, the same part of what every layer could have, with at most this part of the multiplications.

    A layer that would cost more than before is left as it is. Raises UserError if there are none.
    """

    def ranks(share: float) -> Ranks:
        found: Ranks = {}
        for name, layer in anatomy.layers.items():
            rank = max(1, round(share * min(layer.num_out, layer.num_in * layer.num_taps)))
            if factorised_macs(anatomy, cost, {name: rank}) < cost.macs:
                found[name] = rank
        return found

    def left(share: float) -> float:
        return factorised_macs(anatomy, cost, ranks(share)) / cost.macs

    return ranks(largest_within(part, left, f"--flops {part}"))


@torch.no_grad()
def factorised(anatomy: Anatomy, weights: Mapping[str, Tensor], ranks: Mapping[str, int]) -> dict[str, Tensor]:
    """Weights in which each layer with a rank is two, the best of that rank in squares of the kernel."""
    found = dict(weights)
    for name, rank in ranks.items():
        layer = anatomy.layers[name]
        kernel = found.pop(layer.weight)
        outputs_first = kernel.movedim(layer.out_axis, 0)
        u, sizes, vt = torch.linalg.svd(outputs_first.flatten(1), full_matrices=False)
        rank = min(rank, len(sizes))
        thin = (sizes[:rank, None] * vt[:rank]).unflatten(1, outputs_first.shape[1:]).movedim(0, layer.out_axis)
        back = u[:, :rank].reshape(-1, rank, *[1] * (kernel.ndim - 2))
        found |= {f"{name}.{THIN}.weight": thin.contiguous(), f"{name}.{BACK}.weight": back}
        bias = found.pop(layer.bias) if layer.bias is not None else kernel.new_zeros(layer.num_out)
        found[f"{name}.{BACK}.bias"] = bias
    return found
