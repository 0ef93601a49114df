"""Networks in bfloat16 beside float32 weights and geometry."""

import torch
from torch import nn

from aign.generators.pose import ResidualLifter
from aign.training.precision import in_precision


def test_bf16_rounds_the_network_and_returns_float32():
    torch.manual_seed(0)
    network, inputs = nn.Linear(64, 64), torch.randn(8, 64)
    exact, rounded = in_precision("fp32", network, inputs), in_precision("bf16", network, inputs)
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(exact, rounded, atol=2e-2, rtol=0)


def test_weights_changed_between_two_forwards_are_seen():
    network, inputs = nn.Linear(4, 4), torch.ones(1, 4)
    before = in_precision("bf16", network, inputs)
    with torch.no_grad():
        network.weight.add_(1.0)
    assert not torch.equal(before, in_precision("bf16", network, inputs))


def test_geometry_of_the_pose_head_stays_float32():
    torch.manual_seed(0)
    lifter = ResidualLifter(num_joints=5, num_components=4, image_size=64, rotation="euler", width=16, num_blocks=1)
    inferred = in_precision("bf16", lifter, {"keypoints_px": 64 * torch.rand(8, 5, 2)})
    identity = inferred["rotation"] @ inferred["rotation"].mT
    torch.testing.assert_close(identity, torch.eye(3).expand_as(identity), atol=1e-5, rtol=0)
