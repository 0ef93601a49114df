"""Distances of sets: closed forms for normal distributions, symmetry, what they are for one distribution."""

import math

import pytest
import torch
from scipy.linalg import sqrtm

from aign.errors import UserError
from aign.evaluation.distribution import content_preservation, fid, kid, unbiased_mmd


def normal(rng, count, size=6):
    return torch.randn(count, size, generator=rng, dtype=torch.float64)


def whitened(samples):
    """Samples moved to mean 0 and covariance 1 exactly."""
    centred = samples - samples.mean(0)
    factor = torch.linalg.cholesky(centred.T.cov())
    return torch.linalg.solve_triangular(factor, centred.T, upper=False).T


def test_fid_of_known_means_and_covariances(rng):
    a, b = whitened(normal(rng, 200)), whitened(normal(rng, 90))
    sides, shift = torch.tensor([1.0, 2, 3, 0.5, 1, 0.1]).double(), torch.tensor([3.0, 0, 0, 0, 0, 4]).double()
    expected = 25 + (sides - 1).square().sum().item()  # axis by axis: (m - m')^2 + (s - s')^2
    assert fid(a, sides * b + shift) == pytest.approx(expected, rel=1e-10)


def test_fid_is_the_formula_for_any_covariances(rng):
    a, b = normal(rng, 50) @ normal(rng, 6), normal(rng, 60) @ normal(rng, 6) + 1
    first, second = a.T.cov(), b.T.cov()
    root = torch.from_numpy(sqrtm((first @ second).numpy()).real)
    expected = (a.mean(0) - b.mean(0)).square().sum() + (first + second - 2 * root).trace()
    assert fid(a, b) == pytest.approx(expected.item(), rel=1e-8)


@pytest.mark.parametrize("count", [4, 100])
def test_fid_is_symmetric_and_zero_for_equal_sets_with_fewer_samples_than_features_too(rng, count):
    a, b = normal(rng, count, 20), 3 * normal(rng, count + 1, 20)
    assert fid(a, b) == pytest.approx(fid(b, a), rel=1e-10)
    assert fid(a, a[torch.randperm(count, generator=rng)]) < 1e-10
    assert fid(a, a + 2) == pytest.approx(80, rel=1e-9)


def test_fid_falls_with_more_samples_of_one_distribution(rng):
    few, many = ([fid(normal(rng, count), normal(rng, count)) for _ in range(20)] for count in (20, 200))
    assert min(few) > max(many) > 0


def test_fid_of_features_that_never_differ(rng):
    a = torch.cat([normal(rng, 30), torch.ones(30, 3)], 1)
    assert fid(a, a.float()) < 1e-6
    assert fid(torch.ones(5, 3), torch.zeros(4, 3)) == 3


def test_kernel_distance_by_hand():
    a, b = torch.tensor([[0.0], [1]]).double(), torch.tensor([[2.0], [0]]).double()
    # k(0, 1) = 1 in a; k(2, 0) = 1 in b; between: k(0, 2) = k(0, 0) = 1, k(1, 2) = 27, k(1, 0) = 1
    assert unbiased_mmd(a, b).item() == pytest.approx(1 + 1 - 2 * (1 + 1 + 27 + 1) / 4)


def test_kernel_distance_is_unbiased_where_fid_is_not(rng):
    """Two samples of one distribution: 0 on average, within what 400 pairs leave open."""
    found = torch.tensor([unbiased_mmd(normal(rng, 10), normal(rng, 10)).item() for _ in range(400)])
    assert found.mean().abs() < 4 * found.std() / math.sqrt(len(found))
    assert 0.3 < (found < 0).float().mean() < 0.8


def test_kid_is_symmetric_and_sees_a_shift_and_another_spread(rng):
    a, b = normal(rng, 300), normal(rng, 300)
    assert unbiased_mmd(a, b).item() == pytest.approx(unbiased_mmd(b, a).item())
    same = kid(a, b, 0)
    assert abs(same.mean) < 3 * same.deviation
    for other in (b + 1, 2 * b):
        assert kid(a, other, 0).mean > 10 * abs(same.mean)


def test_kid_of_a_normal_distribution_in_closed_form(rng):
    """One feature: E k = E (x y + 1)^3 = m3 m3' + 3 m2 m2' + 3 m1 m1' + 1, of the moments of the two."""
    a, b = normal(rng, 4000, 1), normal(rng, 4000, 1) + 1
    first, second = torch.tensor([1.0, 0, 1, 0]), torch.tensor([1.0, 1, 2, 4])  # E x^0 ... E x^3
    expected = (torch.tensor([1.0, 3, 3, 1]) * (first - second).square()).sum().item()
    assert kid(a, b, 0, subsets=20).mean == pytest.approx(expected, rel=0.15)


def test_kid_depends_on_the_seed_alone(rng):
    a, b = normal(rng, 60), normal(rng, 50)
    state = torch.get_rng_state()
    assert kid(a, b, 3) == kid(a, b, 3) != kid(a, b, 4)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("distance", [fid, lambda a, b: kid(a, b, 0)])
def test_sets_without_a_distribution_are_errors(distance, rng):
    features = normal(rng, 5)
    with pytest.raises(UserError, match="1 images: have no distribution"):
        distance(features, features[:1])
    features[3, 2] = math.nan
    with pytest.raises(UserError, match="1 of 5 images have some that are not finite"):
        distance(features[:2], features)


def test_content_is_preserved_where_the_nearest_truth_is_its_own(rng):
    truth = normal(rng, 300, 16)
    assert content_preservation(truth, truth) == 1
    assert content_preservation(truth + 0.1 * normal(rng, 300, 16), truth) == 1
    exchanged = torch.cat([truth[[1, 0]], truth[2:]])
    assert content_preservation(exchanged, truth) == pytest.approx(298 / 300)


def test_what_all_images_have_in_common_is_no_loss_of_content(rng):
    truth = normal(rng, 300, 16)
    assert content_preservation(0.3 * truth + 7, truth) == 1


def test_collapse_and_unrelated_images_preserve_by_chance(rng):
    truth = normal(rng, 300, 16)
    assert content_preservation(truth[:1].expand(300, 16), truth) == pytest.approx(1 / 300)
    assert content_preservation(normal(rng, 300, 16), truth) < 0.05
    assert content_preservation(truth, torch.ones_like(truth)) == pytest.approx(1 / 300)  # all are equally near
