"""Discriminators on vectors: factors, joints, motions."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

SMALLEST_DEVIATION = 0.03
"""Inputs that (almost) never vary among memories are not blown up further than this."""


class MLPDiscriminator(nn.Module):
    """Fully connected layers with leaky ReLU, to one logit a sample.

    Inputs are standardised by the mean and deviation of ``typical`` ones (memories), so that the gradient penalty
    and the learning rate mean the same whatever the units. ``batch_norm`` puts batch norm after each hidden layer, as
    the paper does (supplement, 2.1).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, typical: Float[Tensor, "samples inputs"], widths: Sequence[int], *, batch_norm: bool) -> None:
        super().__init__()
        self.register_buffer("mean", typical.mean(0))
        self.register_buffer("deviation", typical.std(0).clamp(min=SMALLEST_DEVIATION))
        layers: list[nn.Module] = []
        for before, width in zip((typical.shape[1], *widths), widths, strict=False):
            # a bias before batch norm has no effect and no gradient but rounding, which Adam would turn into steps
            layers += [nn.Linear(before, width, bias=not batch_norm)]
            layers += [*([nn.BatchNorm1d(width)] if batch_norm else []), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, inputs: Float[Tensor, "batch inputs"]) -> Float[Tensor, " batch"]:
        return self.layers((inputs - self.mean) / self.deviation)[:, 0]
