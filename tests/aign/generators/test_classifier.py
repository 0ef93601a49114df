"""The residual classifier: shapes, its blocks by hand, and sizes as in the paper."""

import pytest
import torch
from torch.nn.functional import relu

from aign.generators.classifier import BasicBlock, ResidualClassifier


def test_images_of_any_size_have_logits(rng):
    network = ResidualClassifier(3, 7, width=4, num_blocks=1)
    for side in (28, 33):
        assert network({"image": torch.rand(2, 3, side, side, generator=rng)})["logits"].shape == (2, 7)


def test_groups_double_channels_and_halve_sides(rng):
    network = ResidualClassifier(1, 10, width=4, num_blocks=2)
    features, shapes = network.stem(torch.rand(2, 1, 28, 28, generator=rng)), []
    for block in network.blocks:
        features = block(features)
        shapes.append(tuple(features.shape[1:]))
    assert shapes == [(4, 28, 28)] * 2 + [(8, 14, 14)] * 2 + [(16, 7, 7)] * 2


def test_it_has_the_weights_of_the_papers_networks():
    """0.27 million parameters for 20 layers (Table 6), beside the convolutions of shortcuts."""
    network = ResidualClassifier(3, 10, width=16, num_blocks=3)
    own = sum(p.numel() for name, p in network.named_parameters() if "shortcut" not in name)
    assert own == 269_722


@pytest.mark.parametrize(("before", "after", "stride"), [(4, 4, 1), (4, 8, 2)])
def test_a_block_adds_its_convolutions_to_the_shortcut_before_the_last_relu(before, after, stride, rng):
    block = BasicBlock(before, after, stride).eval()
    features = torch.randn(2, before, 6, 6, generator=rng)
    convolved = block.norm2(block.conv2(relu(block.norm1(block.conv1(features)))))
    given = features if stride == 1 else block.shortcut[1](block.shortcut[0](features))
    torch.testing.assert_close(block(features), relu(convolved + given))
    torch.nn.init.zeros_(block.norm2.weight)
    torch.testing.assert_close(block(features), relu(given))  # nothing but the shortcut is left
