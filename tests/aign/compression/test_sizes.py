"""Ranks, rounds, costs, and networks that take other sizes."""

import copy

import pytest
import torch
from torch import nn

from aign.compression.cost import cost_of, latency_ratio
from aign.compression.factorising import factorised, factorised_macs, factorised_within_macs
from aign.compression.folding import folded
from aign.compression.ranks import macs, parse_ranks, uniform, uniform_within_macs
from aign.compression.replay import Replay
from aign.compression.rounds import in_rounds
from aign.compression.source import Source
from aign.compression.starts import CHOICES, first_projections
from aign.compression.thinning import copied_thin, take_over
from aign.errors import UserError
from tests.aign.compression.networks import Bottleneck, UNet, flattened, images, plain, settled


@pytest.fixture
def source():
    return Source(settled(plain()), images())


def thinned(source, ranks):
    layers = source.anatomy.layers
    return source.thinned({name: torch.eye(layers[name].num_out, rank) for name, rank in ranks.items()})


@pytest.mark.parametrize("make", [plain, flattened, UNet, Bottleneck])
def test_what_ranks_will_cost_is_what_the_thin_network_costs(make):
    source = Source(settled(make()), images())
    ranks = uniform(source.anatomy, 0.4)
    expected = cost_of(thinned(source, ranks), images()).macs
    assert macs(source.anatomy, source.cost, ranks) == pytest.approx(expected)


def test_the_largest_uniform_ranks_within_a_budget(source):
    ranks = uniform_within_macs(source.anatomy, source.cost, 0.5)
    assert macs(source.anatomy, source.cost, ranks) <= 0.5 * source.cost.macs
    more = {name: rank + 1 for name, rank in ranks.items()}
    assert macs(source.anatomy, source.cost, more) > 0.5 * source.cost.macs
    with pytest.raises(
        UserError, match=r"--flops 0\.001: the least that can be reached is 0\.\d+; give 0\.\d+ or more"
    ):
        uniform_within_macs(source.anatomy, source.cost, 0.001)


@pytest.mark.parametrize(
    ("text", "ranks"),
    [
        ("0.5", {"layers.0": 6, "layers.4": 5, "layers.6": 4}),
        ("layers.0=0.5", {"layers.0": 6}),
        ("layers.*=0.5, layers.4=3", {"layers.0": 6, "layers.4": 3, "layers.6": 4}),
        ("layers.0=1", {"layers.0": 1}),
        ("1.0", {}),
        ("layers.0=99", {}),
    ],
)
def test_ranks_as_people_write_them(source, text, ranks):
    assert parse_ranks(text, source.anatomy) == ranks


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("layers.8=0.5", "cannot be projected: what it gives is what the network gives; choose among layers.0"),
        ("middle=0.5", "matches no layer that can be projected"),
        ("0", "neither a part of a layer's channels nor a number of them"),
        ("layers.0=2.5", "neither a part"),
        ("layers.0=half", "neither a part"),
    ],
)
def test_ranks_that_cannot_be(source, text, said):
    with pytest.raises(UserError, match=said):
        parse_ranks(text, source.anatomy)


def test_two_rounds_where_a_residual_block_has_two_layers_to_project():
    block = Source(Bottleneck().eval(), images()).anatomy
    assert in_rounds(block, {"a": 3, "b": 3}, "auto") == (("a",), ("b",))
    assert in_rounds(block, {"a": 3, "b": 3}, "1") == (("a", "b"),)
    assert in_rounds(block, {"b": 3}, "auto") == (("b",),)
    chain = Source(settled(plain()), images()).anatomy
    assert in_rounds(chain, uniform(chain, 0.5), "auto") == (("layers.0", "layers.4", "layers.6"),)
    assert in_rounds(chain, uniform(chain, 0.5), "2") == (("layers.0", "layers.6"), ("layers.4",))


def test_costs_by_hand():
    cost = cost_of(plain(), images())
    first = cost.layers["layers.0"]
    assert first.macs == 12 * 3 * 25 * 16 * 16
    assert first.parameters == 12 * 3 * 25 + 12
    assert first.num_outputs == 12 * 16 * 16
    assert cost.activation_bytes == 4 * sum(layer.num_outputs for layer in cost.layers.values())
    assert cost.macs == sum(layer.macs for layer in cost.layers.values())
    assert cost.parameters == sum(p.numel() for p in plain().parameters())


def test_a_network_takes_as_long_as_itself():
    assert latency_ratio(plain(), plain(), images()) > 0  # how long is a matter of the machine


@torch.no_grad()
def test_factors_of_full_rank_change_nothing_and_cost_what_is_said(source):
    layers = source.anatomy.layers
    full = {name: layers[name].num_out for name in source.anatomy.readings}
    network = copied_thin(source.network, factorised(source.anatomy, source.weights, full)).eval()
    torch.testing.assert_close(network(images()), source.network(images()), atol=1e-4, rtol=1e-4)
    ranks = factorised_within_macs(source.anatomy, source.cost, 0.6)
    thin = copied_thin(source.network, factorised(source.anatomy, source.weights, ranks))
    assert cost_of(thin, images()).macs == pytest.approx(factorised_macs(source.anatomy, source.cost, ranks))
    assert cost_of(thin, images()).macs <= 0.6 * source.cost.macs


def test_a_network_of_other_sizes_trains_on(source):
    network = thinned(source, uniform(source.anatomy, 0.5)).train()
    network(images())["out"].sum().backward()
    assert network.layers[0].out_channels == 6
    assert network.layers[0].weight.grad.shape == (6, 3, 5, 5)
    assert "Conv2d(3, 6" in repr(network)


def test_weights_of_another_network_are_refused(source):
    weights = copy.deepcopy(source.weights)
    weights["other.weight"] = torch.zeros(3)
    with pytest.raises(RuntimeError, match=r"other\.weight"):
        take_over(plain(), weights)


def test_first_projections(source):
    anatomy, weights, ranks = source.anatomy, source.weights, {"layers.0": 3}
    with torch.no_grad():
        weights["layers.0.weight"][[2, 5, 7]] *= 100.0
    chosen = first_projections("magnitude", anatomy, weights, ranks, images(), 0)["layers.0"]
    assert chosen.argmax(0).tolist() == [2, 5, 7]
    for start in ("best", "contribution", "activation", "magnitude", "components", "random"):
        p = first_projections(start, anatomy, weights, ranks, images(), 0)["layers.0"]
        torch.testing.assert_close(p.mT @ p, torch.eye(3), atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("start", ["activation", "contribution", "best"])
def test_channels_that_say_nothing_go_first(source, start):
    anatomy, weights = source.anatomy, source.weights
    weights["layers.0.weight"][4] = 0.0
    weights["layers.0.bias"][4] = 0.0
    p = first_projections(start, anatomy, weights, {"layers.0": 11}, images(), 0)["layers.0"]
    assert p.sum(1).tolist() == [1.0] * 4 + [0.0] + [1.0] * 7


@torch.no_grad()
def test_the_best_start_loses_no_more_than_any_it_is_chosen_from(source):
    anatomy, weights, ranks = source.anatomy, source.weights, {"layers.4": 4}
    (reader,) = anatomy.readers("layers.4")
    node = anatomy.outlets[reader].node
    taught = Replay(anatomy).look(weights, images(), {node})[1][node]

    def lost(start):
        projections = first_projections(start, anatomy, weights, ranks, images(), 0)
        made = Replay(anatomy).look(folded(anatomy, weights, projections), images(), {node})[1][node]
        return (made - taught).square().mean()

    assert lost("best") == min(lost(start) for start in CHOICES)


@torch.no_grad()
def test_channels_that_nobody_hears_contribute_nothing(source):
    anatomy, weights = source.anatomy, source.weights
    weights["layers.4.weight"][:, 4] = 0.0
    p = first_projections("contribution", anatomy, weights, {"layers.0": 11}, images(), 0)["layers.0"]
    assert p.sum(1).tolist() == [1.0] * 4 + [0.0] + [1.0] * 7


def test_an_empty_sequence_costs_nothing():
    class Nothing(nn.Module):
        def forward(self, observed):
            return observed

    assert cost_of(Nothing(), images()).macs == 0
