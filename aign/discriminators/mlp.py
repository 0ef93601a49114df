"""Discriminators on vectors: factors, joints, motions."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn


class MLPDiscriminator(nn.Module):
    """Fully connected layers with leaky ReLU, to one logit a sample.

    ``batch_norm`` puts batch norm after each hidden layer, as the paper does (supplement, 2.1).
    """

    def __init__(self, num_inputs: int, widths: Sequence[int], *, batch_norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in zip((num_inputs, *widths), widths, strict=False):
            layers += [nn.Linear(before, width), *([nn.BatchNorm1d(width)] if batch_norm else []), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, inputs: Float[Tensor, "batch inputs"]) -> Float[Tensor, " batch"]:
        return self.layers(inputs)[:, 0]
