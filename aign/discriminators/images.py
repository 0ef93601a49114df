"""Discriminators on images."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

SMALLEST = 4
"""Convolutions halve the sides until they are this small, px."""
SLOPE = 0.2
"""Of leaky ReLU."""
MOST_CHANNELS = 4
"""Each layer doubles the channels, up to so many times ``width``."""


class ImageDiscriminator(nn.Module):
    """Convolutions with leaky ReLU and one fully connected layer, to one logit an image (appendix B.3 and B.4).

    ``size`` is the (channels, height, width) of the images, which are in [0, 1]. ``batch_norm`` puts batch norm after
    each convolution, as the paper does; without it a gradient penalty means what it should.
    """

    def __init__(self, size: tuple[int, int, int], *, width: int, num_layers: int, batch_norm: bool) -> None:
        super().__init__()
        channels = size[0]
        layers: list[nn.Module] = []
        for i in range(num_layers):
            wider = width * min(2**i, MOST_CHANNELS)
            layers.append(_convolution(channels, wider, min(size[1:]) > SMALLEST * 2**i, bias=not batch_norm))
            layers += [*([nn.BatchNorm2d(wider)] if batch_norm else []), nn.LeakyReLU(SLOPE)]
            channels = wider
        self.convolutions = nn.Sequential(*layers)
        for layer in self.convolutions:
            if isinstance(layer, nn.Conv2d):  # else features fade from layer to layer, and it learns late
                nn.init.kaiming_normal_(layer.weight, a=SLOPE)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        with torch.no_grad():
            features = self.convolutions.eval()(torch.zeros(1, *size)).numel()
        self.convolutions.train()
        self.linear = nn.Linear(features, 1)

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, " batch"]:
        return self.linear(self.convolutions(2 * images - 1).flatten(1))[:, 0]


def _convolution(before: int, after: int, halving: bool, *, bias: bool) -> nn.Conv2d:
    if halving:
        return nn.Conv2d(before, after, 4, stride=2, padding=1, bias=bias)
    return nn.Conv2d(before, after, 3, padding=1, bias=bias)
