"""Which samples may belong together: the mutual nearest neighbour graph of robust continuous clustering."""

from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import Tensor

Metric = Literal["cosine", "euclidean"]
BLOCK = 1024
"""Rows of the table of distances that are made at once."""


class Graph(NamedTuple):
    """Edges between samples, each once."""

    num_samples: int
    first: Int[Tensor, " edges"]
    second: Int[Tensor, " edges"]
    weight: Float[Tensor, " edges"]
    """mean degree / sqrt(degree of one times degree of the other), so that hubs do not pull more than others."""

    def laplacian(self, values: Float[Tensor, " edges"]) -> csr_array:
        """Sum over edges of value (e_p - e_q)(e_p - e_q)^T, samples by samples."""
        p, q, v = self.first.numpy(), self.second.numpy(), values.numpy()
        rows, columns = np.concatenate([p, q, p, q]), np.concatenate([q, p, p, q])
        size = self.num_samples
        return csr_array((np.concatenate([-v, -v, v, v]), (rows, columns)), shape=(size, size))


def mutual_neighbours(x: Float[Tensor, "samples features"], k: int, metric: Metric) -> Graph:
    """Edges between samples that are among each other's k nearest, and those of a minimum spanning tree of the graph
    of nearest neighbours, which leave no sample alone."""
    distance, index = nearest(x, k, metric)
    count = len(x)
    k = index.shape[1]
    ends = np.arange(count).repeat(k), index.numpy().ravel()
    near = csr_array((np.ones(count * k), ends), shape=(count, count))
    length = csr_array((distance.numpy().ravel() + 1e-9, ends), shape=(count, count))  # a 0 would be no edge
    tree = minimum_spanning_tree(length)
    edges = (near.minimum(near.T) + tree + tree.T).tocoo()
    once = edges.row < edges.col
    first, second = (torch.from_numpy(axis[once]).long() for axis in (edges.row, edges.col))
    degree = torch.bincount(torch.cat([first, second]), minlength=count).to(x)
    return Graph(count, first, second, degree.mean() / (degree[first] * degree[second]).sqrt())


def nearest(
    x: Float[Tensor, "samples features"], k: int, metric: Metric
) -> tuple[Float[Tensor, "samples k"], Int[Tensor, "samples k"]]:
    """Distances and indices of the k nearest other samples, or of all others if there are fewer."""
    x = torch.nn.functional.normalize(x, dim=1) if metric == "cosine" else x
    k = min(k, len(x) - 1)
    found = [_nearest(x, start, k) for start in range(0, len(x), BLOCK)]
    distance, index = (torch.cat(parts) for parts in zip(*found, strict=True))
    return (distance.square() / 2 if metric == "cosine" else distance), index  # |a - b|^2 = 2 - 2 cos for unit length


def _nearest(x: Tensor, start: int, k: int) -> tuple[Tensor, Tensor]:
    block = x[start : start + BLOCK]
    distances = torch.cdist(block, x)
    distances[torch.arange(len(block)), start + torch.arange(len(block))] = torch.inf
    found = distances.topk(k, largest=False)
    return found.values, found.indices
