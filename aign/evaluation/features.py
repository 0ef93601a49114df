"""What an image looks like, as a few numbers: features that distances of images are measured on.

Two extractors, neither of which downloads anything:

``RandomFeatures``, the default: a convolutional network whose weights are random and always the same. Such features see
colours, shapes and textures of any kind of image and favour no class of objects; Naeem et al. (ICML 2020) find that
they judge generators better than features of ImageNet classifiers do where images are unlike ImageNet's. Its layers are
those of a scattering transform (Bruna and Mallat, PAMI 2013) with random filters: band-pass filters and absolute
values, averaged over places.

``trained_features``: the trunk of a classifier saved by ``aign.evaluation.attributes``. It sees what its labels needed
and little else (Kynkaanniemi et al., ICLR 2023, show how far that can mislead), so it should have learnt many classes.

Neither is Inception: numbers compare between runs with the same extractor and with no published FID.
"""

from itertools import chain, pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, conv2d, interpolate, pad

from aign.evaluation.attributes import Classifier

Images = Float[Tensor, "images channels height width"]
"""In [0, 1]."""

NUM_FEATURES = 64
"""Few, as in Naeem et al.: a covariance of 64 features takes hundreds of images, not tens of thousands."""
WIDTHS = (3, 16, 32, 64, 64)
"""Channels of the image and of each layer."""
SIDE_PX, GRID = 64, 4
GAIN = 2.0
"""Neighbouring pixels are alike, so their differences are small: this keeps the layers about equally strong."""
SPREAD = 6.0
"""Root of the averages' total variance over drawn faces, of which features have about variance 1: the scale of KID."""
SEED = 0
BATCH = 128


class RandomFeatures(nn.Module):
    """Images (batch, channels, height, width) in [0, 1], of any size and one or three channels, to 64 features.

    Images are made ``SIDE_PX`` high and wide and three channels deep. Each layer is filters of zero mean and length
    ``GAIN``, absolute values, and a halving of the sides. The averages of the image and of every layer over
    ``GRID`` x ``GRID`` parts are mixed by a random projection.
    """

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(SEED)
        for i, (channels, width) in enumerate(pairwise(WIDTHS)):
            filters = torch.randn(width, channels, 3, 3, generator=rng)
            filters -= filters.mean((2, 3), keepdim=True)
            self.register_buffer(f"filters_{i}", GAIN * filters / filters.flatten(1).norm(dim=1)[:, None, None, None])
        averages = GRID * GRID * sum(WIDTHS)
        self.register_buffer("mixing", torch.randn(averages, NUM_FEATURES, generator=rng) / SPREAD)

    def forward(self, images: Images) -> Float[Tensor, "images features"]:
        # corners are not aligned: the pixels of both sizes cover the same square
        images = interpolate(2 * images - 1, (SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False, antialias=True)
        layer = images.expand(-1, WIDTHS[0], -1, -1)
        averages = [adaptive_avg_pool2d(layer, GRID).flatten(1)]
        for i in range(len(WIDTHS) - 1):
            filtered = conv2d(pad(layer, [1] * 4, mode="replicate"), self.get_buffer(f"filters_{i}"))
            layer = avg_pool2d(filtered.abs(), 2)
            averages.append(adaptive_avg_pool2d(layer, GRID).flatten(1))
        return torch.cat(averages, 1) @ self.get_buffer("mixing")


def trained_features(path: Path | str) -> nn.Module:
    """The features of a saved ``Classifier``. Raises UserError for a file that holds none."""
    return Classifier.load(path).trunk


def features_of(images: Images, extractor: nn.Module) -> Float[Tensor, "images features"]:
    """Features of any number of images, a batch at a time on the extractor's device; no gradient, float64."""
    device = next(chain(extractor.parameters(), extractor.buffers())).device
    extractor.eval()
    with torch.no_grad():
        return torch.cat([extractor(part.to(device)).double() for part in images.split(BATCH)])
