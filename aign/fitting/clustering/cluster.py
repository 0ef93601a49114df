"""Robust continuous clustering (Shah and Koltun, PNAS 2017) with the general loss."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh
from torch import Tensor

from aign.errors import UserError
from aign.fitting.clustering.graph import Graph, Metric, mutual_neighbours
from aign.losses.robust import rho, weight

INNER_ITERATIONS = 4
"""Between two changes of the scale."""
SHORTEST = 0.01
"""The share of the edges, the shortest, whose mean length says how near is the same."""


@dataclass(frozen=True)
class Clustering:
    labels: Int[Tensor, " samples"]
    """0 to ``num_clusters`` - 1."""
    representatives: Float[Tensor, "samples features"]
    """Where each sample ended, the u of Eq. 24."""
    objectives: list[float]
    """Of Eq. 24 (halved) before each iteration, under its scale and balance."""
    scales: list[float]
    """In the unit of the samples, one an iteration."""

    @property
    def num_clusters(self) -> int:
        return int(self.labels.max()) + 1


def cluster(
    x: Float[Tensor, "samples features"],
    *,
    alpha: float = -2.0,
    k: int = 10,
    metric: Metric = "cosine",
    graph: Graph | None = None,
) -> Clustering:
    """Groups of samples, as many as there are: every sample's representative u moves towards its neighbours', and
    samples whose representatives meet form a cluster. Minimises half of Eq. 24 of Barron's paper,

        sum_i |x_i - u_i|^2 / 2 + balance sum_(p,q) w_pq c^2 rho(|u_p - u_q|, alpha, c)

    by turns: z_pq = c^2 weight(|u_p - u_q|, alpha, c), then the u of a linear system. alpha = -2 is the authors' own
    loss, mu d^2 / (mu + d^2) with c = sqrt(mu) / 2, and everything else is as they have it: edges join mutual ``k``
    nearest neighbours under ``metric``; mu is halved every 4 turns, from three times the longest edge squared to
    half the mean length of the shortest 1 % (a length taken for a square, as they do); and balance is the spectral
    norm of x over that of the weighted graph, also every 4 turns. So features should be sized as pixels, 0 to 1;
    other units cluster otherwise. ``graph``: that of :func:`mutual_neighbours`, if it is known already.

    Raises UserError for an alpha above 2, and for samples that are not finite, fewer than two, or all the same.
    """
    _check(x, alpha)
    graph = graph or mutual_neighbours(x, k, metric)
    lengths = _lengths(x, graph)
    shortest = _shortest(lengths, x.shape[1])
    spectral = torch.linalg.matrix_norm(x, 2).item()
    u, near = x, torch.ones_like(lengths)
    objectives, scales = [], []
    for scale in _annealed(lengths.max().item(), shortest):
        balance = spectral / _largest_eigenvalue(graph.laplacian(graph.weight * near))
        for _ in range(INNER_ITERATIONS):
            apart = _lengths(u, graph)
            bound = (graph.weight * scale**2 * rho(apart, alpha, scale)).sum()
            objectives.append(((x - u).square().sum() / 2 + balance * bound).item())
            scales.append(scale)
            near = scale**2 * weight(apart, alpha, scale)
            u = solve(graph.laplacian(balance * graph.weight * near), x, u)
    together = _lengths(u, graph) <= shortest
    joined = Graph(*graph[:1], *(part[together] for part in graph[1:]))
    labels = connected_components(joined.laplacian(torch.ones(len(joined.first))), directed=False)[1]
    return Clustering(torch.from_numpy(labels).long(), u, objectives, scales)


def solve(
    laplacian: csr_array,
    x: Float[Tensor, "samples features"],
    start: Float[Tensor, "samples features"],
    tolerance: float = 1e-4,
    most: int = 500,
) -> Float[Tensor, "samples features"]:
    """u with (I + laplacian) u = x: conjugate gradients for all features at once, preconditioned by the diagonal.

    Ends when no feature's residual is larger than ``tolerance`` times the length of that feature of x.
    """
    diagonal = 1 + laplacian.diagonal()[:, None].astype(start.numpy().dtype)
    b, u = x.numpy(), start.numpy()
    residual = b - u - laplacian @ u
    step = ready = residual / diagonal
    product = (residual * ready).sum(0)
    goal = tolerance * np.linalg.norm(b, axis=0) + np.finfo(b.dtype).tiny
    for _ in range(most):
        if (np.linalg.norm(residual, axis=0) <= goal).all():
            break
        image = step + laplacian @ step
        far = product / _not_zero((step * image).sum(0))
        u, residual = u + far * step, residual - far * image
        ready = residual / diagonal
        before, product = product, (residual * ready).sum(0)
        step = ready + product / _not_zero(before) * step
    return torch.from_numpy(u).to(x)


def _annealed(longest: float, shortest: float) -> list[float]:
    """The scales, one for every 4 turns: mu = 4 c^2 is halved until below the length ``shortest``, then half of it."""
    mu = 3 * longest**2
    halvings = max(0, math.floor(math.log2(mu / shortest)) + 1)
    return [math.sqrt(value) / 2 for value in (*(mu / 2**i for i in range(halvings + 1)), shortest / 2)]


def _shortest(lengths: Float[Tensor, " edges"], num_features: int) -> float:
    """The mean of the shortest edges; as the authors have it, those between (nearly) equal samples do not count."""
    longest = lengths.max()
    lengths = torch.where(lengths / math.sqrt(num_features) < 0.01, longest, lengths)
    return lengths.sort().values[: max(1, math.ceil(SHORTEST * len(lengths)))].mean().item()


def _lengths(u: Tensor, graph: Graph) -> Float[Tensor, " edges"]:
    return (u[graph.first] - u[graph.second]).norm(dim=1)


def _largest_eigenvalue(matrix: csr_array) -> float:
    start = np.random.default_rng(0).standard_normal(matrix.shape[0])  # its default would differ from run to run
    return eigsh(matrix.astype(np.float64), k=1, return_eigenvectors=False, tol=1e-4, v0=start)[0].item()


def _not_zero(values: np.ndarray) -> np.ndarray:
    return np.where(values == 0, 1, values)


def _check(x: Tensor, alpha: float) -> None:
    if not alpha <= 2:
        raise UserError(f"alpha = {alpha:g}", "what is far apart would pull hardest", "give 2 or less")
    if len(x) < 2:
        raise UserError("clustering", f"there are {len(x)} samples", "give at least two")
    bad = (~x.isfinite()).flatten(1).any(1).nonzero()[:, 0]
    if len(bad):
        raise UserError("clustering", f"sample {int(bad[0])} is NaN or infinite", "drop or repair such samples")
    if not (x - x[0]).any():
        raise UserError("clustering", "all samples are the same", "give samples that differ")
