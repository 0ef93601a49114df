"""Representations: inverses, volume, energy, and the filters of the literature."""

import math

import pytest
import torch

from aign.errors import UserError
from aign.losses.representations import DCT, YUV, Wavelet, parse_representation

SPELLINGS = ("pixels", "yuv", "dct", "wavelet:1", "wavelet:2", "yuv+dct", "yuv+wavelet:2")
EVERY = pytest.mark.parametrize("spelling", SPELLINGS)
LOW = (0.852698679009, 0.377402855613, -0.110624404418, -0.023849465020, 0.037828455507)
HIGH = (0.788485616406, -0.418092273222, -0.040689417609, 0.064538882629)


@EVERY
@pytest.mark.parametrize(("height", "width"), [(4, 4), (2, 3), (5, 4), (7, 3), (1, 6)])
def test_volume_is_preserved(spelling, height, width):
    image = torch.randn(1, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    jacobian = torch.autograd.functional.jacobian(parse_representation(spelling), image)
    assert torch.linalg.slogdet(jacobian.reshape(image.numel(), -1))[1].abs() < 1e-10


@EVERY
@pytest.mark.parametrize(("height", "width"), [(64, 48), (33, 17), (2, 2), (3, 101)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_inverse(spelling, height, width, dtype, tolerance, rng):
    representation = parse_representation(spelling)
    if "wavelet:2" in spelling and max(height, width) < 3:
        return
    image = torch.randn(2, 3, height, width, dtype=dtype, generator=rng)
    coefficients = representation(image)
    assert coefficients.shape == image.shape
    torch.testing.assert_close(representation.inverse(coefficients), image, atol=tolerance, rtol=0)
    torch.testing.assert_close(representation(representation.inverse(image)), image, atol=tolerance, rtol=0)


def test_dct_keeps_energy_and_puts_a_flat_image_in_one_coefficient(rng):
    image = torch.randn(1, 2, 31, 20, dtype=torch.float64, generator=rng)
    assert math.isclose(DCT()(image).square().sum(), image.square().sum(), rel_tol=1e-12)
    flat = DCT()(torch.ones(1, 1, 5, 8, dtype=torch.float64))
    assert math.isclose(flat[0, 0, 0, 0], math.sqrt(40), rel_tol=1e-12)
    assert flat.flatten()[1:].abs().max() < 1e-12


def test_large_dct_in_float32_keeps_its_digits(rng):
    """Cosines of thousands of turns."""
    image = torch.randn(1, 1, 3, 2000, generator=rng)
    torch.testing.assert_close(DCT()(image).double(), DCT()(image.double()), atol=1e-4, rtol=0)


def test_yuv_of_grey_has_no_colour():
    grey = YUV()(torch.full((1, 3, 2, 2), 0.5, dtype=torch.float64))
    torch.testing.assert_close(grey[:, 0], torch.full((1, 2, 2), 0.5 * 1.580227820074, dtype=torch.float64))
    assert grey[:, 1:].abs().max() < 1e-7


@pytest.mark.parametrize("side", [-1, -2])
def test_wavelet_filters_are_the_literatures(side):
    """The centre and one half of each; the other is its mirror image."""
    size, place = 64, 16
    lines = torch.eye(size, dtype=torch.float64)[:, None, :, None].expand(-1, 1, -1, 2)
    coefficients = Wavelet(1)(lines if side == -2 else lines.mT)  # a flat line of 2 is sqrt 2 times its low filter
    coefficients = (coefficients if side == -2 else coefficients.mT)[:, 0, :, 0] / math.sqrt(2)
    low, high = coefficients[:, place], coefficients[:, size // 2 + place]
    for filter, centre, half in ((low, 2 * place, LOW), (high, 2 * place + 1, HIGH)):
        expected = torch.zeros(size, dtype=torch.float64)
        for distance, value in enumerate(half):
            expected[centre - distance] = expected[centre + distance] = value
        torch.testing.assert_close(filter, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (21, 40)])
def test_wavelet_puts_a_smooth_image_at_the_top_left(height, width):
    """The high filters have four vanishing moments."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    smooth = (1 + x - 2 * y + x * y)[None, None].double()
    energy = Wavelet(2)(smooth).square()
    assert energy[..., : (height + 3) // 4, : (width + 3) // 4].sum() > 0.999 * energy.sum()
    flat = Wavelet(3)(torch.ones(1, 1, 32, 32, dtype=torch.float64))
    torch.testing.assert_close(flat[..., :4, :4], torch.full((1, 1, 4, 4), 8.0, dtype=torch.float64))
    assert flat[..., 4:, :].abs().max() < 1e-12


@EVERY
def test_linear_and_differentiable(spelling, rng):
    representation = parse_representation(spelling)
    first, second = torch.randn(2, 1, 3, 4, 3, dtype=torch.float64, generator=rng)
    torch.testing.assert_close(
        representation(2 * first - second), 2 * representation(first) - representation(second), atol=1e-12, rtol=0
    )
    assert torch.autograd.gradcheck(representation, first.requires_grad_())


@EVERY
def test_spelling_there_and_back(spelling):
    assert str(parse_representation(spelling)) == spelling


def test_default_levels():
    assert parse_representation("wavelet") == Wavelet(5)


@pytest.mark.parametrize("spelling", ["", "rgb", "wavelet:", "wavelet:x", "wavelet:0", "wavelet:-1", "dct:3", "yuv+"])
def test_refused_spellings(spelling):
    with pytest.raises(UserError):
        parse_representation(spelling)


def test_refused_images():
    with pytest.raises(UserError, match="2 levels"):
        Wavelet(3)(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="3 channels"):
        YUV()(torch.zeros(1, 1, 4, 4))
