import pytest
import torch
from torch.nn.functional import conv2d, relu

from aign.compression.folding import folded, num_inputs, without_batch_norm
from aign.compression.polar import polar
from aign.compression.replay import Replay
from aign.compression.source import Source
from tests.aign.compression.networks import Bottleneck, UNet, flattened, images, plain, settled

NETWORKS = [plain, flattened, UNet, Bottleneck]


def source_of(make):
    return Source(settled(make()), images())


def some_projections(source, share=0.5):
    torch.manual_seed(1)
    layers = source.anatomy.layers
    return {
        name: polar(torch.randn(layers[name].num_out, max(1, int(share * layers[name].num_out))))
        for name in source.anatomy.readings
    }


@torch.no_grad()
def test_folded_is_projected():
    """Eq. 8 against Eq. 7, written out for one pair of layers."""
    network = settled(UNet())
    source, image = Source(network, images()), images()["image"]
    p = some_projections(source)["middle"]
    thin = folded(source.anatomy, source.weights, {"middle": p})
    down = relu(network.down(relu(network.first(image))))
    projected = relu(torch.einsum("or,bohw->brhw", p, network.middle(down)))
    kernel = torch.einsum("or,oikl->rikl", p, network.up.weight)
    expected = torch.nn.functional.conv_transpose2d(projected, kernel, network.up.bias, stride=2)
    values = Replay(source.anatomy).look(thin, images(), {source.anatomy.layers["up"].node})[1]
    torch.testing.assert_close(values[source.anatomy.layers["up"].node], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("make", NETWORKS)
def test_the_plain_thin_network_gives_what_the_folded_weights_give(make):
    source = source_of(make)
    projections = some_projections(source)
    thin = source.thinned(projections).eval()
    again = Replay(source.anatomy).infer(folded(source.anatomy, source.weights, projections), images(5))
    torch.testing.assert_close(thin(images(5)), again, atol=1e-5, rtol=1e-5)
    for name, projection in projections.items():
        assert thin.get_submodule(name).weight.shape[source.anatomy.layers[name].out_axis] == projection.shape[1]


@torch.no_grad()
@pytest.mark.parametrize("make", NETWORKS)
def test_full_rank_with_columns_of_the_identity_is_exact(make):
    source = source_of(make)
    layers = source.anatomy.layers
    shuffled = {
        name: torch.eye(layers[name].num_out)[:, torch.randperm(layers[name].num_out)]
        for name in source.anatomy.readings
    }
    torch.testing.assert_close(
        source.thinned(shuffled).eval()(images()), source.network(images()), atol=1e-5, rtol=1e-5
    )


@torch.no_grad()
def test_a_linear_pair_may_be_turned_at_will():
    """Without a nonlinearity between, any orthogonal matrix changes nothing."""
    source = Source(_Linear().eval(), images())
    turned = {"first": polar(torch.randn(8, 8))}
    torch.testing.assert_close(source.thinned(turned)(images()), source.network(images()), atol=1e-5, rtol=1e-5)


class _Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 2, 1)

    def forward(self, observed):
        return {"out": self.last(self.first(observed["image"]))}


@torch.no_grad()
def test_batch_norm_goes_into_the_layer_before_it():
    network = settled(plain())
    source = Source(network, images())
    whole = without_batch_norm(network, source.before)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in whole.modules())
    torch.testing.assert_close(whole(images()), network(images()), atol=1e-5, rtol=1e-5)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


def test_inputs_that_are_left():
    anatomy = source_of(UNet).anatomy
    assert num_inputs(anatomy, "last", {"first": 2, "up": 4}) == 4 + 2 + 3
    assert num_inputs(source_of(flattened).anatomy, "layers.4", {"layers.0": 2}) == 2 * 4


def test_gradients_reach_the_projection():
    source = source_of(plain)
    projections = {name: p.requires_grad_() for name, p in some_projections(source).items()}
    Replay(source.anatomy).infer(folded(source.anatomy, source.weights, projections), images())["out"].sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in projections.values())


@torch.no_grad()
def test_one_convolution_by_hand():
    source = Source(_Linear().eval(), images())
    first = source.network.first
    p = polar(torch.randn(8, 3))
    thin = source.thinned({"first": p})
    expected = conv2d(images()["image"], torch.einsum("or,oikl->rikl", p, first.weight), first.bias @ p)
    torch.testing.assert_close(thin.first(images()["image"]), expected, atol=1e-6, rtol=1e-5)
