"""Similarity of images: cases by hand, properties, and SSIM written out as its equation."""

import math

import pytest
import torch

from aign.errors import UserError
from aign.evaluation.image import psnr_db, ssim


@pytest.fixture
def pair(rng):
    return torch.rand(2, 4, 3, 16, 20, generator=rng)


def test_psnr_of_a_known_error_one_number_a_sample():
    truth = torch.full((2, 3, 4, 5), 0.5)
    images = truth + torch.tensor([0.1, 0.01])[:, None, None, None]
    torch.testing.assert_close(psnr_db(images, truth), torch.tensor([20.0, 40.0]), atol=1e-3, rtol=0)
    assert (psnr_db(truth, truth) == math.inf).all()


def test_values_that_no_image_can_show_count_as_the_nearer_end(pair):
    truth = (pair[0] > 0.5).float()
    assert (psnr_db(3 * truth - 1, truth) == math.inf).all()
    torch.testing.assert_close(ssim(3 * truth - 1, truth), torch.ones(4))


def test_ssim_is_its_equation(pair):
    a, b = pair.double()
    place = torch.arange(11).double() - 5
    window = (-(place[:, None].square() + place.square()) / (2 * 1.5**2)).exp()
    window /= window.sum()
    values = []
    for top in range(16 - 10):
        for left in range(20 - 10):
            x, y = (images[..., top : top + 11, left : left + 11] for images in (a, b))
            mean_x, mean_y = ((window * v).sum((-1, -2)) for v in (x, y))
            dx, dy = x - mean_x[..., None, None], y - mean_y[..., None, None]
            var_x, var_y, cov = ((window * v).sum((-1, -2)) for v in (dx * dx, dy * dy, dx * dy))
            values.append(
                (2 * mean_x * mean_y + 0.01**2)
                * (2 * cov + 0.03**2)
                / ((mean_x**2 + mean_y**2 + 0.01**2) * (var_x + var_y + 0.03**2))
            )
    torch.testing.assert_close(ssim(a, b), torch.stack(values).mean((0, 2)))


def test_ssim_is_one_for_equal_images_symmetric_and_less_for_others(pair):
    a, b = pair
    torch.testing.assert_close(ssim(a, a), torch.ones(4))
    torch.testing.assert_close(ssim(a, b), ssim(b, a))
    assert (ssim(a, b) < 0.5).all()
    assert (ssim(1 - (a > 0.5).float(), (a > 0.5).float()) < 0).all()


def test_a_sample_does_not_depend_on_its_batch(pair):
    a, b = pair
    for similarity in (psnr_db, ssim):
        torch.testing.assert_close(similarity(a, b)[1:2], similarity(a[1:2], b[1:2]))


def test_images_smaller_than_the_window_are_refused():
    with pytest.raises(UserError, match="window of 11 x 11"):
        ssim(torch.zeros(1, 1, 10, 28), torch.zeros(1, 1, 10, 28))
