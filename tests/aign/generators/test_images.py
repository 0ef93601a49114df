"""Networks that imagine images: shapes, ranges, and what is told of their first weights."""

import pytest
import torch
from torch import nn

from aign.generators.images import (
    DenseInpainter,
    Inpainter,
    SuperResolver,
    WithDecoder,
    completed,
    decoder,
    dense_decoder,
    filled,
    initialise,
)


@pytest.mark.parametrize("upsampling", ["resize", "deconvolution"])
def test_a_super_resolver_gives_four_times_the_size_of_any_image(upsampling):
    network = SuperResolver(3, width=8, num_blocks=1, upsampling=upsampling)
    image = network({"image": torch.rand(2, 3, 5, 7)})["image"]
    assert image.shape == (2, 3, 20, 28)
    assert ((image > 0) & (image < 1)).all()


@pytest.mark.parametrize("upsampling", ["resize", "deconvolution"])
@pytest.mark.parametrize("num_blocks", [0, 2])
def test_an_inpainter_gives_the_whole_image(upsampling, num_blocks):
    network = Inpainter(3, width=8, num_blocks=num_blocks, upsampling=upsampling)
    inferred = network({"image": torch.rand(2, 3, 12, 20), "mask": torch.ones(2, 1, 12, 20)})
    assert inferred["whole"].shape == (2, 3, 12, 20)
    assert set(inferred) == {"image", "whole"}


def test_blocks_may_be_none_and_deconvolutions_are_three_as_in_the_paper():
    network = Inpainter(3, width=8, num_blocks=0, upsampling="deconvolution")
    assert sum(isinstance(module, nn.ConvTranspose2d) for module in network.modules()) == 3
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == 4


def test_a_dense_inpainter_has_no_convolution():
    network = DenseInpainter((1, 6, 5), width=8)
    assert not any(isinstance(module, nn.Conv2d) for module in network.modules())
    assert network({"image": torch.rand(2, 1, 6, 5), "mask": torch.ones(2, 1, 6, 5)})["whole"].shape == (2, 1, 6, 5)


def test_what_is_visible_lies_over_what_is_imagined():
    observed = {"image": torch.tensor([[[[0.25, 0.0]]]]), "mask": torch.tensor([[[[1.0, 0.0]]]])}
    whole = torch.tensor([[[[0.5, 0.75]]]])
    assert completed(whole, observed)["image"].tolist() == [[[[0.25, 0.75]]]]


def test_a_hole_is_filled_with_the_colours_around_it():
    image = torch.zeros(1, 1, 16, 16)
    image[..., 8:] = 0.5
    mask = torch.ones(1, 1, 16, 16)
    mask[..., 6:10, 2] = mask[..., 6:10, 13] = 0
    around = filled({"image": image * mask, "mask": mask})
    assert torch.equal(around[mask == 1], image[mask == 1])
    assert around[..., 6:10, 2].abs().max() < 0.02
    torch.testing.assert_close(around[..., 6:10, 13], torch.full((1, 1, 4), 0.5), atol=0.02, rtol=0)


def test_deep_in_a_hole_is_the_mean_colour():
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 0] = 1
    around = filled({"image": 0.25 * mask, "mask": mask})
    torch.testing.assert_close(around, torch.full_like(around, 0.25))
    assert torch.isfinite(filled({"image": 0 * mask, "mask": 0 * mask})).all()


@pytest.mark.parametrize(
    ("make", "sides"),
    [
        (lambda: decoder(3, width=8, shrinks=True), (4, 6)),
        (lambda: decoder(3, width=8, shrinks=False), (16, 24)),
        (lambda: dense_decoder((3, 16, 24), width=8), (16, 24)),
    ],
)
def test_a_decoder_gives_the_observed_from_a_factor(make, sides):
    class Enlarge(nn.Module):
        def forward(self, observed):
            return {"image": observed["image"]}

    inferred = WithDecoder(Enlarge(), make(), reads="image")({"image": torch.rand(2, 3, 16, 24)})
    assert inferred["rendered"].shape == (2, 3, *sides)
    assert ((inferred["rendered"] > 0) & (inferred["rendered"] < 1)).all()


def test_first_weights_lie_within_two_deviations():
    network = SuperResolver(3, width=32, num_blocks=1, upsampling="deconvolution")
    initialise(network, 0.02)
    weights = torch.cat(
        [m.weight.flatten() for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    )
    assert weights.abs().max() <= 2 * 0.02**0.5
    assert weights.std().item() == pytest.approx(0.88 * 0.02**0.5, rel=0.02)  # what is left of a deviation cut at two
