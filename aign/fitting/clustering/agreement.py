"""How well two ways to sort samples into groups agree, whatever the groups are called."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def adjusted_mutual_information(a: Int[Tensor, " samples"], b: Int[Tensor, " samples"]) -> float:
    """AMI (Vinh, Epps and Bailey, JMLR 2010): (MI - E) / (sqrt(H(a) H(b)) - E) for E the MI expected by chance.

    1 for the same groups, about 0 for unrelated ones. The geometric mean of the entropies is the choice of robust
    continuous clustering. Groups are any integers. Two trivial sortings (one group, or each sample its own) agree.
    """
    a, b = a.unique(return_inverse=True)[1], b.unique(return_inverse=True)[1]
    rows, columns = int(a.max()) + 1, int(b.max()) + 1
    table = torch.bincount(a * columns + b, minlength=rows * columns).double().view(rows, columns)
    in_a, in_b = table.sum(1), table.sum(0)
    if rows == columns and rows in (1, len(a)):
        return 1.0
    information = _entropy(in_a) + _entropy(in_b) - _entropy(table.flatten())
    expected = expected_information(in_a, in_b)
    normalizer = (_entropy(in_a) * _entropy(in_b)).sqrt() - expected
    tiny = torch.finfo(torch.float64).eps
    # one group on one side knows nothing: 0 / 0, which is 0
    return ((information - expected) / torch.where(normalizer.abs() < tiny, tiny, normalizer)).item()


def expected_information(in_a: Float[Tensor, " groups"], in_b: Float[Tensor, " others"]) -> Float[Tensor, ""]:
    """Expectation of the mutual information, in nats, if samples are dealt at random to groups of these sizes.

    The sum over groups i, j and counts n of n/N log(N n / (a_i b_j)) P(n), where P is hypergeometric. Groups of the
    same size are worked out once.
    """
    total = in_a.sum()
    (sizes, many), (others, more) = (sizes.unique(return_counts=True) for sizes in (in_a, in_b))
    expected = total.new_zeros(())
    for size, times in zip(others, more, strict=True):
        both = torch.arange(1, int(size) + 1, dtype=torch.float64)
        mine = sizes[:, None]
        possible = (both <= mine) & (both >= mine + size - total)
        n = torch.where(possible, both, (mine + size - total).clamp(min=0))
        ways = _choose(size, n) + _choose(total - size, mine - n) - _choose(total, mine)
        bits = n / total * (total * n.clamp(min=1) / (mine * size)).log()
        expected = expected + times * (many[:, None] * torch.where(possible, bits * ways.exp(), 0.0)).sum()
    return expected


def _choose(n: Tensor, k: Tensor) -> Tensor:
    """Logarithm of the binomial coefficient."""
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)


def _entropy(counts: Float[Tensor, " groups"]) -> Float[Tensor, ""]:
    share = counts / counts.sum()
    return -torch.xlogy(share, share).sum()
