"""What the surface looks like around each point, whatever the cloud's pose: normals, and fast point feature histograms
(FPFH; Rusu, Blodow and Beetz, ICRA 2009)."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.spatial import cKDTree
from torch import Tensor

NUM_BINS = 11
NUM_FEATURES = 3 * NUM_BINS
NORMAL_RADIUS = 0.5
"""Normals come from a neighbourhood this much smaller than that of the histograms."""


class Neighbours(NamedTuple):
    """The nearest other points of each point, nearest first."""

    others: Int[Tensor, "points most"]
    """The point itself where there are no more within the radius."""
    distance: Float[Tensor, "points most"]
    known: Bool[Tensor, "points most"]


def fpfh(points: Float[Tensor, "points 3"], radius: float, most: int = 100) -> Float[Tensor, "points 33"]:
    """Three histograms a point, each summing to 1 (or 0 for a point that is alone), of angles within ``radius``.

    With n and n' the normals of a point and its neighbour in direction d, u = n, v = d x u and w = u x v, they count
    v . n', u . d and atan2(w . n', u . n') over the neighbours; to a point's own histogram that of its neighbours is
    added, weighted by 1 / distance. Normals point out of the cloud. At most ``most`` neighbours count.
    """
    near = neighbours(points, radius, most)
    normals = outward(points, plane_normals(points, neighbours(points, NORMAL_RADIUS * radius, most)), near)
    simple = _histograms(_angles(points, normals, near), near.known)
    weights = torch.where(near.known, 1 / torch.where(near.known, near.distance, 1.0), 0.0)
    around = torch.from_numpy(_matrix(near, weights) @ simple.numpy())
    return _to_one(_to_one(simple) + _to_one(around))


def neighbours(points: Float[Tensor, "points 3"], radius: float, most: int) -> Neighbours:
    """Up to ``most`` other points within the radius. Points at the very same place are no neighbours."""
    most = min(most, len(points) - 1)
    tree = cKDTree(points.numpy())
    distance, index = tree.query(points.numpy(), k=range(2, most + 2), distance_upper_bound=radius)
    known = torch.from_numpy(np.isfinite(distance) & (distance > 0))
    own = torch.arange(len(points))[:, None]
    return Neighbours(torch.where(known, torch.from_numpy(index), own), torch.from_numpy(distance), known)


def plane_normals(points: Float[Tensor, "points 3"], near: Neighbours) -> Float[Tensor, "points 3"]:
    """The direction in which each neighbourhood extends least; which way along it is left open."""
    apart = (points[near.others] - points[:, None]) * near.known[..., None]
    mean = apart.sum(1) / (near.known.sum(1) + 1)[:, None]
    spread = torch.einsum("nki,nkj->nij", apart, apart) / (near.known.sum(1) + 1)[:, None, None]
    return torch.linalg.eigh(spread - mean[:, :, None] * mean[:, None])[1][..., 0]


def outward(
    points: Float[Tensor, "points 3"], normals: Float[Tensor, "points 3"], near: Neighbours
) -> Float[Tensor, "points 3"]:
    """Normals turned to one side of the surface, the outer one.

    Neighbours agree along a minimum spanning tree of how much their directions differ (Hoppe et al., SIGGRAPH 1992),
    and every connected piece points away from the middle of its points on the whole.
    """
    count = len(points)
    cosine = (normals[:, None] * normals[near.others]).sum(-1).abs()
    graph = _matrix(near, torch.where(near.known, 1.001 - cosine, 0.0))  # a weight of 0 would be no edge
    pieces, piece = connected_components(graph, directed=False)
    parent = _parents(minimum_spanning_tree(graph), np.unique(piece, return_index=True)[1])
    flip = torch.where((normals * normals[parent]).sum(-1) < 0, -1.0, 1.0).to(normals)
    for _ in range(count.bit_length()):  # every step doubles how far up the tree the product reaches
        flip, parent = flip * flip[parent], parent[parent]
    agreed, member = normals * flip[:, None], torch.from_numpy(piece).long()
    sizes = torch.bincount(member, minlength=pieces)
    middle = torch.zeros(pieces, 3, dtype=points.dtype).index_add(0, member, points) / sizes[:, None]
    out = torch.zeros(pieces, dtype=points.dtype).index_add(0, member, (agreed * (points - middle[member])).sum(-1))
    return agreed * torch.where(out < 0, -1.0, 1.0)[member, None].to(normals)


def _parents(forest: csr_array, roots: np.ndarray) -> Int[Tensor, " points"]:
    """The parent of each point in a forest; a root is its own."""
    count = forest.shape[0]
    # one more node on top of all roots makes a tree of the forest
    rows, columns = forest.nonzero()
    rows, columns = np.append(rows, np.full(len(roots), count)), np.append(columns, roots)
    tree = csr_array((np.ones(len(rows)), (rows, columns)), shape=(count + 1, count + 1))
    parent = breadth_first_order(tree, count, directed=False)[1][:count]
    return torch.from_numpy(np.where(parent == count, np.arange(count), parent)).long()


def _matrix(near: Neighbours, values: Float[Tensor, "points most"]) -> csr_array:
    rows = np.arange(len(near.others)).repeat(near.others.shape[1])
    known = near.known.numpy().ravel()
    entries = values.numpy().ravel()[known], (rows[known], near.others.numpy().ravel()[known])
    return csr_array(entries, shape=(len(near.others), len(near.others)))


def _angles(points: Tensor, normals: Tensor, near: Neighbours) -> Float[Tensor, "points most 3"]:
    """Each angle, or its cosine, put onto 0 to 1."""
    direction = torch.nn.functional.normalize(points[near.others] - points[:, None], dim=-1)
    u = normals[:, None].expand_as(direction)
    v = torch.nn.functional.normalize(torch.linalg.cross(direction, u), dim=-1)
    w = torch.linalg.cross(u, v)
    other = normals[near.others]
    turn = torch.atan2((w * other).sum(-1), (u * other).sum(-1)) / torch.pi
    return torch.stack([(v * other).sum(-1), (u * direction).sum(-1), turn], -1) / 2 + 0.5


def _histograms(angles: Float[Tensor, "points most 3"], known: Bool[Tensor, "points most"]) -> Tensor:
    bins = (angles * NUM_BINS).long().clamp(0, NUM_BINS - 1) + NUM_BINS * torch.arange(3)
    counts = torch.zeros(len(bins), NUM_FEATURES, dtype=angles.dtype)
    return counts.scatter_add(1, bins.flatten(1), known[..., None].expand_as(bins).flatten(1).to(angles.dtype))


def _to_one(histograms: Float[Tensor, "points 33"]) -> Float[Tensor, "points 33"]:
    parts = histograms.unflatten(1, (3, NUM_BINS))
    total = parts.sum(-1, keepdim=True)
    return (parts / torch.where(total > 0, total, 1.0)).flatten(1)
