"""Renderers of images: cases by hand, their gradients, what they refuse."""

import pytest
import torch

from aign.renderers.image import Downsampler, LearntRenderer, Masker, downsampled


def test_a_smaller_image_is_the_mean_of_each_square():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    rendered = Downsampler(2)({"image": image}, {})["image"]
    assert rendered.tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
    assert Downsampler(4)({"image": image}, {})["image"].item() == 7.5


def test_an_enlarged_image_renders_back_into_itself(rng):
    small = torch.rand(2, 3, 5, 7, generator=rng)
    large = small.repeat_interleave(4, -1).repeat_interleave(4, -2)
    torch.testing.assert_close(Downsampler(4)({"image": large}, {})["image"], small)


def test_sides_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"\(8, 6\) pixels are no multiple of 4"):
        downsampled(torch.zeros(1, 3, 8, 6), 4)


def test_a_mask_hides_what_is_imagined_behind_it():
    whole = torch.tensor([[[[0.25, 0.5], [0.75, 1.0]]]])
    mask = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    inferred = {"image": torch.rand(1, 1, 2, 2), "whole": whole}
    assert Masker()(inferred, {"mask": mask})["image"].tolist() == [[[[0.25, 0], [0, 1]]]]


def test_gradients(rng):
    image = torch.rand(2, 3, 4, 4, dtype=torch.float64, generator=rng, requires_grad=True)
    mask = (torch.rand(2, 1, 4, 4, generator=rng) > 0.5).double()
    assert torch.autograd.gradcheck(lambda x: Downsampler(2)({"image": x}, {})["image"], image)
    assert torch.autograd.gradcheck(lambda x: Masker()({"whole": x}, {"mask": mask})["image"], image)


def test_what_a_decoder_made_is_handed_on(rng):
    made = torch.rand(2, 3, 4, 4, generator=rng)
    assert LearntRenderer()({"image": torch.zeros(2, 3, 16, 16), "rendered": made}, {})["image"] is made
