"""Clustering: groups that are plain to see, what does not matter, and the linear systems inside."""

import math
import os

import numpy as np
import pytest
import torch

from aign.data.digits import generated_digits, load_digits
from aign.errors import UserError
from aign.fitting.clustering import adjusted_mutual_information, cluster
from aign.fitting.clustering.cluster import solve
from aign.fitting.clustering.graph import Graph, mutual_neighbours, nearest


@pytest.fixture
def blobs(rng):
    """Three groups of 30 in the unit cube of 5 dimensions, shuffled, and which is which."""
    centres = torch.tensor([[0.1] * 5, [0.9, 0.1, 0.9, 0.1, 0.9], [0.1, 0.9, 0.5, 0.9, 0.1]])
    labels = torch.arange(90) % 3
    order = torch.randperm(90, generator=rng)
    return (centres[labels] + 0.02 * torch.randn(90, 5, generator=rng))[order], labels[order]


def test_nearest_by_hand():
    line = torch.tensor([[0.0, 0], [1, 0], [3, 0], [7, 0]])
    distance, index = nearest(line, 2, "euclidean")
    assert index.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    assert distance.tolist() == [[1, 3], [1, 2], [2, 3], [4, 6]]
    turned = torch.tensor([[1.0, 0], [5, 5], [0, 0.1]])
    distance, _ = nearest(turned, 1, "cosine")
    torch.testing.assert_close(distance[:, 0], torch.full((3,), 1 - math.sqrt(0.5)))


def test_edges_by_hand():
    line = torch.tensor([[0.0, 0], [1, 0], [3, 0], [7, 0]])
    graph = mutual_neighbours(line, 1, "euclidean")
    # 0 and 1 choose each other; 2 chooses 1 and 3 chooses 2, which only the spanning tree keeps
    assert sorted(zip(graph.first.tolist(), graph.second.tolist(), strict=True)) == [(0, 1), (1, 2), (2, 3)]
    degrees = torch.tensor([1.0, 2, 2, 1])
    torch.testing.assert_close(graph.weight, 1.5 / (degrees[graph.first] * degrees[graph.second]).sqrt())


def test_laplacian_by_hand():
    graph = Graph(3, torch.tensor([0, 1]), torch.tensor([1, 2]), torch.ones(2))
    expected = [[2, -2, 0], [-2, 5, -3], [0, -3, 3]]
    assert graph.laplacian(torch.tensor([2.0, 3.0])).toarray().tolist() == expected


def test_equal_samples_may_be_neighbours():
    graph = mutual_neighbours(torch.zeros(4, 2), 2, "euclidean")
    assert len(graph.first) >= 3


def test_solves_the_system(rng):
    x = torch.rand(60, 4, generator=rng, dtype=torch.float64)
    x[:, 2] = 0
    graph = mutual_neighbours(x, 5, "euclidean")
    laplacian = graph.laplacian(100 * graph.weight)
    u = solve(laplacian, x, x, tolerance=1e-10)
    np.testing.assert_allclose(u + laplacian @ u.numpy(), x, atol=1e-8)


@pytest.mark.parametrize("alpha", [-1.0, -2.0, -8.0, -math.inf])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_separate_blobs_are_found_exactly(blobs, alpha, metric):
    x, labels = blobs
    found = cluster(x, alpha=alpha, metric=metric)
    assert found.num_clusters == 3
    assert adjusted_mutual_information(found.labels, labels) == pytest.approx(1)


def test_representatives_of_a_cluster_meet(blobs):
    x, labels = blobs
    found = cluster(x, metric="euclidean")
    for label in range(3):
        mine = labels == label
        spread, before = (v[mine].std(0).mean() for v in (found.representatives, x))
        assert spread < 0.5 * before


def test_squares_put_what_is_joined_into_one_cluster():
    x = torch.linspace(0, 1, 40)[:, None] * torch.ones(3)
    assert cluster(x, alpha=2.0, metric="euclidean").num_clusters == 1


def test_order_and_rotation_do_not_matter(blobs, rng, random_rotations):
    x, labels = blobs
    order = torch.randperm(90, generator=rng)
    shuffled = cluster(x[order], metric="euclidean").labels
    assert adjusted_mutual_information(shuffled, labels[order]) == pytest.approx(1)
    turned = torch.cat([x[:, :3] @ random_rotations(1)[0], x[:, 3:]], 1)
    a, b = (cluster(samples, metric="euclidean") for samples in (x, turned))
    assert a.labels.tolist() == b.labels.tolist()
    torch.testing.assert_close(torch.tensor(a.objectives), torch.tensor(b.objectives), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("alpha", [1.0, 0.0, -2.0, -32.0])
def test_no_turn_raises_the_objective_while_the_scale_stands_still(rng, alpha):
    found = cluster(torch.rand(80, 6, generator=rng, dtype=torch.float64), alpha=alpha)
    objectives = torch.tensor(found.objectives).view(-1, 4)
    assert (objectives.diff(dim=1) <= 1e-4 * objectives[:, :1]).all()
    scales = torch.tensor(found.scales).view(-1, 4)
    assert (scales == scales[:, :1]).all()
    torch.testing.assert_close(scales[:-2, 0] / scales[1:-1, 0], torch.full((len(scales) - 2,), math.sqrt(2.0)))


def test_the_original_loss_by_hand():
    """Two pairs of samples far apart: alpha = -2 is mu d^2 / (mu + d^2) with mu = 3 d_max^2 at first."""
    x = torch.tensor([[0.0, 0], [0.1, 0], [1, 0], [1.1, 0]], dtype=torch.float64)
    graph = Graph(4, torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3]), torch.ones(3, dtype=torch.float64))
    found = cluster(x, graph=graph)
    mu = 3 * 0.9**2
    assert found.scales[0] == pytest.approx(math.sqrt(mu) / 2)
    squared = torch.tensor([0.01, 0.81, 0.01], dtype=torch.float64)
    balance = torch.linalg.matrix_norm(x, 2) / (2 + math.sqrt(2))  # the largest eigenvalue of a path of four
    expected = balance / 2 * (mu * squared / (mu + squared)).sum()
    assert found.objectives[0] == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (torch.zeros(1, 4), "there are 1 samples"),
        (torch.tensor([[0.0], [1], [float("inf")]]), "sample 2 is NaN or infinite"),
        (torch.ones(5, 2), "all samples are the same"),
    ],
)
def test_says_what_is_wrong_with_samples(x, reason):
    with pytest.raises(UserError, match=reason):
        cluster(x)


def test_scribbles_are_sorted_well():
    digits = generated_digits(200, 0)
    x = digits.images.flatten(1)
    robust, gentle = (adjusted_mutual_information(cluster(x, alpha=a).labels, digits.labels) for a in (-8.0, 2.0))
    assert robust > 0.6
    assert gentle < 0.3


@pytest.mark.skipif("AIGN_DATA" not in os.environ, reason="AIGN_DATA is not set: no real digits to cluster")
def test_real_digits_are_sorted():
    digits = load_digits("test", 300, seed=0)
    found = cluster(digits.images.flatten(1))
    assert adjusted_mutual_information(found.labels, digits.labels) > 0.45
