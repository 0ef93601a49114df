"""Discriminators on vectors."""

import pytest
import torch
from torch import nn

from aign.discriminators.mlp import MLPDiscriminator


@pytest.mark.parametrize("batch_norm", [False, True])
def test_one_logit_a_sample_from_the_layers_that_were_asked_for(batch_norm):
    network = MLPDiscriminator(7, (5, 3), batch_norm=batch_norm)
    assert network(torch.randn(4, 7)).shape == (4,)
    widths = [(layer.in_features, layer.out_features) for layer in network.layers if isinstance(layer, nn.Linear)]
    assert widths == [(7, 5), (5, 3), (3, 1)]
    assert sum(isinstance(layer, nn.BatchNorm1d) for layer in network.layers) == (2 if batch_norm else 0)
