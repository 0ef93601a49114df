"""The discriminator on images: one logit for each, for images of many sizes."""

import pytest
import torch
from torch import nn

from aign.discriminators.images import ImageDiscriminator


@pytest.mark.parametrize("size", [(3, 64, 64), (1, 28, 28), (3, 9, 20), (3, 5, 5)])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_one_logit_an_image(size, batch_norm):
    network = ImageDiscriminator(size, width=4, num_layers=5, batch_norm=batch_norm)
    assert network(torch.rand(3, *size)).shape == (3,)
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == 5
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == 5 * batch_norm
    assert sum(isinstance(module, nn.Linear) for module in network.modules()) == 1


def test_making_it_leaves_no_trace_in_batch_norm():
    network = ImageDiscriminator((3, 16, 16), width=4, num_layers=3, batch_norm=True)
    assert all(m.num_batches_tracked == 0 for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    assert network.convolutions.training
