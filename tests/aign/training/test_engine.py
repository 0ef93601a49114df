"""The plain engine: its state is everything its future depends on."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

from aign.training.engine import TorchEngine


def adam(module):
    return Adam(module.parameters(), lr=0.01, betas=(0.5, 0.99))


def sgd(module):
    return SGD(module.parameters(), lr=0.01, momentum=0.9)


@pytest.fixture(params=[adam, sgd], ids=["adam", "sgd"])
def make_engine(request):
    def make_engine(seed):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))
        return TorchEngine(module, request.param(module))

    return make_engine


def learn(engine, steps):
    for step in range(*steps):
        inputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(step))
        engine.backward(engine.module(inputs).square().mean())
        engine.step()


def assert_equal_states(a, b):
    assert a.meta == b.meta
    assert a.tensors.keys() == b.tensors.keys()
    for name, tensor in a.tensors.items():
        assert torch.equal(tensor, b.tensors[name]), name


@pytest.mark.parametrize("used_before", [0, 2])
def test_a_loaded_engine_continues_bit_by_bit(used_before, make_engine):
    engine, other = make_engine(0), make_engine(1)
    learn(engine, (0, 3))
    learn(other, (50, 50 + used_before))
    other.load(engine.state())
    assert_equal_states(engine.state(), other.state())
    learn(engine, (3, 8))
    learn(other, (3, 8))
    assert_equal_states(engine.state(), other.state())


def test_a_state_from_before_the_first_update_forgets_later_ones(make_engine):
    engine, other = make_engine(0), make_engine(1)
    learn(other, (50, 53))
    other.load(engine.state())
    learn(engine, (0, 3))
    learn(other, (0, 3))
    assert_equal_states(engine.state(), other.state())


def test_a_state_is_a_copy(make_engine):
    engine, other = make_engine(0), make_engine(1)
    learn(engine, (0, 1))
    state = engine.state()
    before = {name: tensor.clone() for name, tensor in state.tensors.items()}
    other.load(state)
    learn(engine, (1, 3))
    learn(other, (1, 3))
    assert all(torch.equal(tensor, before[name]) for name, tensor in state.tensors.items())


def test_names_of_a_state(make_engine):
    engine = make_engine(0)
    names = engine.state().tensors.keys()
    assert {"param/0.weight", "buffer/1.running_mean", "param/3.bias"} <= names
    assert {name.split("/")[0] for name in names} == {"param", "buffer"}
    learn(engine, (0, 2))
    assert len({name.split("/")[0] for name in engine.state().tensors}) > 2


def test_adam_counts_its_updates_by_parameter():
    module = nn.Linear(3, 1)
    engine = TorchEngine(module, adam(module))
    learn(engine, (0, 2))
    assert engine.state().meta == {"updates": {"weight": 2, "bias": 2}}


@pytest.mark.parametrize("change", ["missing", "foreign", "shape"])
def test_a_state_of_another_network_is_refused(change, make_engine):
    engine = make_engine(0)
    state = engine.state()
    if change == "missing":
        del state.tensors["param/0.weight"]
    else:
        state.tensors["param/new" if change == "foreign" else "param/0.weight"] = torch.zeros(9)
    with pytest.raises(RuntimeError):
        engine.load(state)


def test_gradients_are_gone_after_a_step(make_engine):
    engine = make_engine(0)
    learn(engine, (0, 1))
    assert all(parameter.grad is None for parameter in engine.module.parameters())


def test_lr_factor_multiplies_the_initial_rate(make_engine):
    engine = make_engine(0)
    for factor, lr in ((0.5, 0.005), (0.1, 0.001), (1.0, 0.01)):
        engine.set_lr_factor(factor)
        assert engine.optimizer.param_groups[0]["lr"] == pytest.approx(lr)
