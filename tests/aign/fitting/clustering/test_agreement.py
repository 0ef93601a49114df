"""Adjusted mutual information, by hand and by chance."""

import itertools
import math

import pytest
import torch

from aign.fitting.clustering.agreement import adjusted_mutual_information, expected_information


def test_names_of_groups_do_not_matter(rng):
    a = torch.randint(5, (100,), generator=rng)
    assert adjusted_mutual_information(a, 7 - 3 * a) == pytest.approx(1)


def test_a_table_by_hand():
    # Of the 6 ways to deal 2 + 2 samples to two pairs, 2 agree fully (log 2 nats) and 4 not at all: E = log 2 / 3.
    sizes = torch.tensor([2.0, 2.0], dtype=torch.float64)
    assert expected_information(sizes, sizes).item() == pytest.approx(math.log(2) / 3)
    a, b = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    assert adjusted_mutual_information(a, b) == pytest.approx((0 - 1 / 3) / (1 - 1 / 3))


def test_expectation_is_the_mean_over_all_ways_to_deal():
    a, b = (0, 0, 0, 1, 1, 2), (0, 0, 1, 1, 1, 1)

    def information(p, q):
        total = len(p)
        cells = {(i, j): sum(x == (i, j) for x in zip(p, q, strict=True)) / total for i in set(p) for j in set(q)}
        return sum(s * math.log(s * total**2 / (p.count(i) * q.count(j))) for (i, j), s in cells.items() if s)

    dealt = [information(a, order) for order in itertools.permutations(b)]
    found = expected_information(*(torch.tensor(c).bincount().double() for c in (a, b)))
    assert found.item() == pytest.approx(sum(dealt) / len(dealt))


def test_unrelated_groups_agree_by_chance_only(rng):
    a, b = torch.randint(10, (2000,), generator=rng), torch.randint(40, (2000,), generator=rng)
    assert abs(adjusted_mutual_information(a, b)) < 0.02


def test_it_is_symmetric(rng):
    a = torch.randint(6, (80,), generator=rng)
    b = torch.where(torch.rand(80, generator=rng) < 0.5, a, torch.randint(4, (80,), generator=rng))
    assert adjusted_mutual_information(a, b) == pytest.approx(adjusted_mutual_information(b, a))
    assert 0 < adjusted_mutual_information(a, b) < 1


def test_trivial_sortings():
    one, each = torch.zeros(6, dtype=torch.long), torch.arange(6)
    assert adjusted_mutual_information(one, one) == 1
    assert adjusted_mutual_information(each, each) == 1
    assert adjusted_mutual_information(one, torch.tensor([0, 0, 0, 1, 1, 1])) == pytest.approx(0)
    assert adjusted_mutual_information(one, each) == pytest.approx(0)
