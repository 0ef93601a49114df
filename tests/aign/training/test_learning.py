"""Parts of a network: their learning rates, and that the ones at rest do not change at all."""

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim import Adam

from aign.tasks.parts import GeneratorPart
from aign.training.engine import TorchEngine
from aign.training.learning import freeze, only_learning, parameter_groups

LR, BETAS = 0.01, (0.5, 0.99)
PARTS = {"stem": GeneratorPart(frozen=True), "pose": GeneratorPart(lr_factor=3.0), "decoder": GeneratorPart()}
STAGES = [None, ("pose",), ("decoder",), None]


class Network(nn.Module):
    """Three parts with batch norms, of which the first is frozen, and a parameter of none of them."""

    def __init__(self):
        super().__init__()
        self.stem, self.pose, self.decoder = (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)) for _ in range(3))
        self.gain = nn.Parameter(torch.ones(3))

    def forward(self, inputs):
        return self.gain * self.decoder(self.pose(self.stem(inputs)).tanh())


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = Network()
    freeze(network, PARTS)
    return network


def engine_of(network):
    return TorchEngine(network, Adam(parameter_groups(network, PARTS, STAGES, LR), betas=BETAS))


def batch(step):
    return torch.randn(6, 3, generator=torch.Generator().manual_seed(step))


def learn(engine, stage, steps):
    for step in range(*steps):
        with only_learning(engine.module, PARTS, stage):
            engine.backward(mse_loss(engine.module(batch(step)), batch(-1 - step)))
            engine.step()


def named(state, part):
    return {name: tensor for name, tensor in state.tensors.items() if name.split("/")[1].startswith(f"{part}.")}


def test_groups_have_learning_rates_and_stages_of_their_own(network):
    groups = parameter_groups(network, PARTS, STAGES, LR)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    found = [(group["lr"], {names[id(p)].split(".")[0] for p in group["params"]}) for group in groups]
    assert found == [(0.01, {"gain"}), (0.03, {"pose"}), (0.01, {"decoder"})]
    together = parameter_groups(network, {"decoder": GeneratorPart()}, [None], LR)
    assert len(together) == 1  # the decoder learns as all the rest does


@pytest.mark.parametrize(
    ("stage", "learnt"), [(None, {"pose", "decoder"}), (("pose",), {"pose"}), (("decoder",), {"decoder"})]
)
def test_a_part_at_rest_keeps_weights_buffers_and_optimizer_state(stage, learnt, network):
    engine = engine_of(network)
    learn(engine, None, (0, 2))
    before = engine.state()
    learn(engine, stage, (2, 5))
    after = engine.state()
    for part in ("stem", "pose", "decoder"):
        tensors = named(after, part)
        assert len(tensors) == (7 if part == "stem" else 15)  # frozen, it has no moments
        same = [torch.equal(tensor, named(before, part)[name]) for name, tensor in tensors.items()]
        assert all(same) == (part not in learnt)
    assert after.meta["updates"]["gain"] == (5 if stage is None else 2)
    assert torch.equal(after.tensors["param/gain"], before.tensors["param/gain"]) == (stage is not None)


def test_learning_by_stage_equals_plain_pytorch(network):
    engine = engine_of(network)
    torch.manual_seed(0)
    plain = Network()
    parts = {"pose": plain.pose, "decoder": plain.decoder, "gain": plain.gain}
    adams = {
        name: Adam([part] if name == "gain" else part.parameters(), lr=0.03 if name == "pose" else LR, betas=BETAS)
        for name, part in parts.items()
    }
    plain.stem.eval()
    for index, stage in enumerate(STAGES):
        learn(engine, stage, (3 * index, 3 * index + 3))
        learning = stage or tuple(parts)
        for name in ("pose", "decoder"):
            parts[name].train(name in learning)
        for step in range(3 * index, 3 * index + 3):
            plain.zero_grad()
            mse_loss(plain(batch(step)), batch(-1 - step)).backward()
            for name in learning:
                adams[name].step()
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], tensor, rtol=0, atol=0)


def test_modes_and_gradients_are_restored_after_an_error(network):
    before = [m.training for m in network.modules()], [p.requires_grad for p in network.parameters()]

    def fail():
        with only_learning(network, PARTS, ("pose",)):
            assert [name for name, part in network.named_children() if part.training] == ["pose"]
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert ([m.training for m in network.modules()], [p.requires_grad for p in network.parameters()]) == before


def test_what_learns_but_gets_no_gradient_is_updated_with_zeros(network):
    """As sharded optimizers do, which know no missing gradients."""
    engine = engine_of(network)
    learn(engine, None, (0, 1))
    gain, moment = network.gain.detach().clone(), engine.state().tensors["exp_avg/gain"]
    engine.backward(network.pose(batch(0)).square().mean())
    engine.step()
    assert engine.state().meta["updates"]["gain"] == 2
    torch.testing.assert_close(engine.state().tensors["exp_avg/gain"], BETAS[0] * moment)
    assert not torch.equal(network.gain, gain)  # momentum
