"""Matches between small sets that can be matched by hand."""

import pytest
import torch

from aign.data.pointclouds import generated_pair, moved, random_motion
from aign.errors import UserError
from aign.fitting.registration.matches import agreeing_triples, find_matches, mutually_nearest


def test_only_those_that_choose_each_other_are_paired():
    first, second = torch.tensor([[0.0], [1.0], [9.0]]), torch.tensor([[0.9], [0.1], [0.8]])
    assert mutually_nearest(first, second).tolist() == [[0, 1], [1, 0]]  # 9 would have 0.9, which has 1


def test_features_are_compared_in_blocks(rng):
    features = torch.randn(2500, 4, generator=rng)
    order = torch.randperm(2500, generator=rng)
    pairs = mutually_nearest(features, features[order])
    torch.testing.assert_close(order[pairs[:, 1]], pairs[:, 0])
    assert len(pairs) == 2500


def test_triples_keep_what_moves_rigidly(rng):
    a = torch.randn(30, 3, generator=rng, dtype=torch.float64)
    b = moved(random_motion(rng, 1.0), a)
    b[20:] = 5 * torch.randn(10, 3, generator=rng, dtype=torch.float64)
    chosen = agreeing_triples(a, b, ratio=0.95, most=50, seed=0)
    assert len(chosen) == 150
    assert (chosen >= 20).double().mean() < 0.1  # a third are wrong matches


def test_a_point_is_no_triple():
    same = torch.zeros(5, 3, dtype=torch.float64)
    assert len(agreeing_triples(same, same, ratio=0.95, most=50, seed=0)) == 0


def test_seeds_repeat(rng):
    a = torch.randn(30, 3, generator=rng)
    same, again, other = (agreeing_triples(a, a, 0.95, 20, seed) for seed in (0, 0, 1))
    assert same.tolist() == again.tolist() != other.tolist()


def test_clouds_without_triples_are_refused():
    points = generated_pair(0, num_points=300).target
    with pytest.raises(UserError, match="no three agree in their distances"):
        find_matches(points, points, radius=0.7, ratio=1.0)  # no distance agrees better than equal ones do


def test_too_few_matches_are_refused():
    far_apart = 100 * torch.eye(3, dtype=torch.float64)
    with pytest.raises(UserError, match="only 1 points look alike"):
        find_matches(far_apart, far_apart, radius=1.0)
