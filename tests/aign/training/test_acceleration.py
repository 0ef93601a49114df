"""Accelerated networks compute what plain ones do, and keep the names of their parameters."""

import copy

import pytest
import torch
from torch import nn

from aign.errors import UserError
from aign.training.acceleration import Acceleration, accelerate, check_acceleration
from aign.training.players import make_engines
from aign.training.step import adversarial_step


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        layers = [nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Tanh()) for _ in range(2)])

    def forward(self, images):
        features = self.convolutions(images).flatten(1)
        for block in self.blocks:
            features = block(features)
        return features


@pytest.fixture
def plain():
    torch.manual_seed(0)
    return Network()


HOW = {
    "channels_last": Acceleration(channels_last=True),
    "activation_checkpointing": Acceleration(activation_checkpointing=True),
    "both": Acceleration(channels_last=True, activation_checkpointing=True),
}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_outputs_gradients_and_statistics_are_those_of_the_plain_network(how, plain, rng):
    fast = accelerate(copy.deepcopy(plain), how)
    images = torch.randn(5, 2, 6, 6, generator=rng)
    for network in (plain, fast):
        network(images).square().sum().backward()
    assert fast.state_dict().keys() == plain.state_dict().keys()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(fast.state_dict()[name], value, msg=name)
    for own, expected in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own.grad, expected.grad, atol=1e-4, rtol=1e-4)


def test_convolutions_really_get_their_channels_last(plain, rng):
    accelerate(plain, HOW["channels_last"])
    seen = []
    plain.convolutions[3].register_forward_hook(lambda module, inputs, output: seen.append((*inputs, output)))
    plain(torch.randn(5, 2, 6, 6, generator=rng))
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in seen[0])


def test_checkpointing_keeps_fewer_activations(plain, rng):
    def kept(network):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            network(torch.randn(64, 2, 6, 6, generator=rng))
        return sum(sizes)

    before = kept(plain)
    assert kept(accelerate(plain, HOW["activation_checkpointing"])) < 0.5 * before


def test_activations_can_be_recomputed_in_a_compiled_network(plain, rng, monkeypatch):
    eager = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda network, **how: eager(network, backend="aot_eager", **how))
    images, found = torch.randn(5, 2, 6, 6, generator=rng), []
    for how in (Acceleration(), Acceleration(compile=True, activation_checkpointing=True)):
        network = accelerate(copy.deepcopy(plain), how)
        network(images).square().sum().backward()
        found.append([parameter.grad for parameter in network.parameters()] + list(network.buffers()))
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize("option", ["channels_last", "activation_checkpointing"])
def test_what_has_nothing_to_act_on_is_refused(option, plain):
    how = Acceleration(**{option: True})
    check_acceleration([nn.Linear(2, 2), plain], how)
    with pytest.raises(UserError, match=f"{option}.*no network here has.*leave it out"):
        check_acceleration([nn.Linear(2, 2)], how)


def test_compiled_networks_learn_the_same_and_a_gradient_penalty_is_left_to_plain_ones(toy_step, monkeypatch):
    compiled = []
    eager = nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda net, **how: compiled.append(net) or eager(net, backend="aot_eager")
    )
    for r1, num_compiled in ((0.0, 2), (1.0, 1)):
        plain, fast = toy_step(r1=r1), toy_step(r1=r1)
        compiled.clear()
        fast["engines"] = make_engines(fast["task"], fast["config"], how=Acceleration(compile=True))
        assert len(compiled) == num_compiled
        torch.testing.assert_close(adversarial_step(**fast)[0], adversarial_step(**plain)[0])


def test_accumulated_parts_teach_what_the_whole_batch_does(toy_step):
    states = []
    for accumulate in (1, 2, 3):
        step = toy_step(batch_size=8, accumulate=accumulate, update_rule="paper", theta_d=10.0, theta_g=0.0)
        terms, updates = adversarial_step(**step)
        assert updates == 2
        engines = step["engines"]
        states.append((terms, engines.generator.state().tensors, engines.discriminators.state().tensors))
    for other in states[1:]:
        for whole, parts in zip(states[0], other, strict=True):
            torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-4)


def test_a_gradient_penalty_is_that_of_the_plain_network(plain, rng):
    """Its second derivative needs activations that were recomputed for the first once more."""
    images = torch.randn(5, 2, 6, 6, generator=rng)
    found = []
    for network in (plain, accelerate(copy.deepcopy(plain), HOW["activation_checkpointing"])):
        seen = images.clone().requires_grad_()
        (slope,) = torch.autograd.grad(network(seen).square().sum(), seen, create_graph=True)
        slope.square().sum().backward()
        found.append([parameter.grad for parameter in network.parameters()] + list(network.buffers()))
    torch.testing.assert_close(found[1], found[0], atol=1e-2, rtol=1e-3)
