import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, softmax
from torch.nn.utils.parametrizations import weight_norm

from aign.compression.anatomy import dissect
from aign.compression.source import Source
from aign.errors import UserError
from aign.training.run_config import RunConfig
from tests.aign.compression.networks import Bottleneck, FromDict, UNet, flattened, images, plain


def anatomy_of(network):
    return Source(network.eval(), images()).anatomy


def test_a_plain_chain_can_be_projected_up_to_its_last_layer():
    anatomy = anatomy_of(plain())
    assert {name: anatomy.readers(name) for name in anatomy.readings} == {
        "layers.0": ("layers.4",),
        "layers.4": ("layers.6",),
        "layers.6": ("layers.8",),
    }
    assert anatomy.left == {"layers.8": "is what the network gives"}


def test_channels_that_are_concatenated_are_read_from_where_they_lie():
    anatomy = anatomy_of(UNet())
    assert set(anatomy.readings) == {"first", "down", "middle", "up"}
    assert {(r.layer, r.offset) for r in anatomy.readings["first"]} == {("down", 0), ("last", 10)}
    assert {(r.layer, r.offset) for r in anatomy.readings["up"]} == {("last", 0)}


def test_flattened_images_have_several_inputs_for_each_channel():
    (reading,) = anatomy_of(flattened()).readings["layers.0"]
    assert (reading.layer, reading.positions) == ("layers.4", 4)


def test_what_residual_blocks_give_stays():
    anatomy = anatomy_of(Bottleneck())
    assert set(anatomy.readings) == {"a", "b"}
    assert "added to something else" in anatomy.left["stem"]
    assert "added to something else" in anatomy.left["c"]
    assert anatomy.outlets["c"].is_sum


class Functional(nn.Module):
    def __init__(self, between=lambda x: x, groups=1):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1, groups=groups)
        self.between = between

    def forward(self, observed):
        return {"out": self.last(self.between(self.first(observed["image"])))}


class Twice(Functional):
    def forward(self, observed):
        return {"out": self.last(self.last(self.first(observed["image"])))}


class Tied(Functional):
    def forward(self, observed):
        between = self.last(self.first(observed["image"]))
        return {"out": conv2d(between, self.last.weight.transpose(0, 1))}


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Functional(lambda x: softmax(x, 1)), "is read by 'softmax'"),
        (Functional(nn.GroupNorm(2, 8)), "is read by 'group_norm'"),
        (Functional(lambda x: x.flip(1)), "is read by 'flip'"),
        (Functional(lambda x: x.view(x.shape[0], 8, 16, 16)), "is read by 'view'"),
        (Functional(lambda x: x[:, torch.arange(8)]), "is read by 'index'"),
        (Functional(lambda x: x * x.mean(1, keepdim=True)), "is read by 'mean'"),
        (Functional(nn.PReLU(8)), "is read by 'prelu'"),
        (Functional(groups=2), "whose channels form 2 groups"),
        (Functional(lambda x: nn.functional.batch_norm(x.relu(), torch.zeros(8), torch.ones(8))), "does not follow"),
        (Functional(lambda x: conv2d(x, torch.ones(8, 8, 1, 1))), "whose weights are computed"),
        (Tied(), "last, whose weights are used more than once"),
        (Twice(), "last, whose weights are used more than once"),
    ],
)
def test_what_cannot_be_projected_is_left_with_its_reason(network, reason):
    anatomy = anatomy_of(network)
    assert "first" not in anatomy.readings
    assert reason in anatomy.left["first"]


def test_weights_that_are_computed_from_others_are_left():
    network = Functional()
    weight_norm(network.last)
    assert "whose weights are computed" in anatomy_of(network).left["first"]


def test_a_course_that_depends_on_values_is_refused_by_name():
    class Choosing(nn.Module):
        def forward(self, observed):
            return {"out": observed["image"] if observed["image"].sum() > 0 else -observed["image"]}

    with pytest.raises(UserError, match=r"Choosing: cannot be drawn as a graph .*leave out what depends on values"):
        dissect(Choosing(), images())


def test_dissecting_changes_nothing():
    network = plain().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    dissect(network, images())
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("task", "preset", "projected", "left"),
    [
        ("superres", "aign", {"layers.2.layers.0", "layers.6.1", "layers.8.1"}, {"layers.0", "layers.2.layers.3"}),
        ("superres", "aign-paper", {"layers.2.layers.0", "layers.6", "layers.8"}, {"layers.0", "layers.10"}),
        ("inpaint", "aign-paper", {"image_branch.0", "mask_branch.2", "joined.3"}, {"joined.5"}),
        ("pose", "aign-paper", {"convolutions.0", "convolutions.21"}, {"linear.0"}),
        ("pose", "aign", set(), {"stem", "blocks.0.layers.1"}),
        ("vae", None, {"encoder.0", "encoder.4"}, {"encoder.7"}),
        ("digits", None, {"blocks.0.conv1", "blocks.3.conv1"}, {"blocks.0.conv2", "head"}),
    ],
)
def test_the_projects_own_networks(task, preset, projected, left):
    run = RunConfig.of(task, preset, **({} if task == "pose" else {"num_images": 60}))
    anatomy = Source.of(run.make_task()).anatomy
    assert projected <= set(anatomy.readings)
    assert left <= set(anatomy.left)


def test_another_linear_function_in_its_place_hides_no_layer(monkeypatch):
    """As DeepSpeed's, at ZeRO stage 3."""
    monkeypatch.setattr("torch.nn.functional.linear", lambda x, weight, bias=None: x.matmul(weight.t()) + bias)
    anatomy = anatomy_of(flattened())
    assert set(anatomy.readings) == {"layers.0", "layers.4"}
    assert torch.nn.functional.linear is not torch._C._nn.linear


def test_an_empty_network_has_nothing():
    assert not anatomy_of(FromDict(nn.ReLU())).layers
