"""Discriminators on vectors."""

import pytest
import torch
from torch import nn

from aign.discriminators.mlp import SMALLEST_DEVIATION, MLPDiscriminator


@pytest.fixture
def typical(rng):
    return torch.randn(50, 7, generator=rng)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_one_logit_a_sample_from_the_layers_that_were_asked_for(batch_norm, typical):
    network = MLPDiscriminator(typical, (5, 3), batch_norm=batch_norm)
    assert network(typical[:4]).shape == (4,)
    widths = [(layer.in_features, layer.out_features) for layer in network.layers if isinstance(layer, nn.Linear)]
    assert widths == [(7, 5), (5, 3), (3, 1)]
    assert sum(isinstance(layer, nn.BatchNorm1d) for layer in network.layers) == (2 if batch_norm else 0)


def test_units_do_not_matter(typical):
    logits = []
    for unit in (torch.ones(7), torch.tensor([10.0, 1, 1, 1000, 1, 1, 5])):
        torch.manual_seed(0)
        logits.append(MLPDiscriminator(typical * unit + 3, (5,), batch_norm=False)(typical * unit + 3))
    torch.testing.assert_close(logits[0], logits[1], atol=1e-4, rtol=1e-4)


def test_inputs_that_never_vary_are_not_blown_up(typical):
    typical[:, 2] = 4
    network = MLPDiscriminator(typical, (5,), batch_norm=False)
    assert network.deviation[2] == SMALLEST_DEVIATION
    assert torch.isfinite(network(typical)).all()


def test_standardisation_is_kept_with_the_weights(typical):
    network, other = (MLPDiscriminator(typical * k, (5,), batch_norm=False) for k in (1, 9))
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(typical), network(typical))
