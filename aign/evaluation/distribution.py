"""How far two sets of images are apart, measured on their features (``aign.evaluation.features``), in float64.

Distances of sets (FID, KID) say whether images look alike as a whole, not whether each is right. Numbers compare only
between sets of the same extractor, and FID only between sets of the same size: it falls with more samples.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from aign.errors import UserError

Features = Float[Tensor, "_ features"]

SUBSETS, SUBSET_SIZE = 100, 1000
"""Binkowski et al.'s, for KID."""
SEED = 0
"""Of those subsets, where nobody says otherwise."""
_AT_ONCE = 256
"""Samples that are compared with all others at a time."""


class KernelDistance(NamedTuple):
    """KID over random subsets."""

    mean: float
    deviation: float
    """Standard deviation over the subsets: what samples of this size leave open."""


def set_metrics(inferred: Features, remembered: Features, truth: Features) -> dict[str, float]:
    """``fid`` and ``kid`` between what is inferred and remembered, and ``content_percent``, by name."""
    return {
        "fid": fid(inferred, remembered),
        "kid": kid(inferred, remembered, SEED).mean,
        "content_percent": 100 * content_preservation(inferred, truth),
    }


def fid(a: Features, b: Features) -> float:
    """Frechet distance of the normal distributions with the sets' means and covariances, squared.

    |m_a - m_b|^2 + tr C_a + tr C_b - 2 tr (C_a C_b)^(1/2) (Dowson and Landau, J. Multivariate Analysis 1982; on
    features, Heusel et al., NeurIPS 2017, equation 6), covariances over n - 1. 0 for equal sets, symmetric, in squared
    units of a feature. Samples leave it too large, the more the fewer they are (Binkowski et al., section 3): take
    several for each feature, and the same number for all that are compared.

    Raises UserError for fewer than two samples and features that are not finite.
    """
    a, b = _checked(a, b)
    apart = (a.mean(0) - b.mean(0)).square().sum()
    root_a, root_b = _root(a), _root(b)
    # C = R^T R, so the eigenvalues of C_a C_b are the squared singular values of R_a R_b^T. No root is taken of a
    # number that rounding may have made negative, nor of a covariance that has no full rank.
    shared = torch.linalg.svdvals(root_a @ root_b.mT).sum()
    return (apart + root_a.square().sum() + root_b.square().sum() - 2 * shared).clamp(min=0).item()


def kid(
    a: Features, b: Features, seed: int, *, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE
) -> KernelDistance:
    """Kernel distance: the unbiased squared maximum mean discrepancy, averaged over random subsets of both sets.

    With k(x, y) = (x . y / d + 1)^3 for d features, the mean of k over pairs of different samples of a, plus that of
    b, minus twice that between them (Binkowski et al., ICLR 2018, section 4; the estimator is Gretton et al., JMLR
    2012, equation 3). Its expectation is the distance of the distributions, whatever the number of samples: around 0,
    below as often as above, for two sets of one distribution. Subsets are drawn without replacement from the seed, and
    hold no more than half of the smaller set, so that they differ.

    Raises UserError for fewer than two samples and features that are not finite.
    """
    a, b = _checked(a, b)
    size = min(subset_size, max(2, min(len(a), len(b)) // 2))
    rng = torch.Generator().manual_seed(seed)
    distances = torch.stack([unbiased_mmd(_drawn(a, size, rng), _drawn(b, size, rng)) for _ in range(subsets)])
    return KernelDistance(distances.mean().item(), distances.std(correction=0).item())


def unbiased_mmd(a: Features, b: Features) -> Float[Tensor, ""]:
    """Unbiased squared maximum mean discrepancy of two sets with the cubic kernel of ``kid``."""
    return _mean_of_different(_kernel(a, a)) + _mean_of_different(_kernel(b, b)) - 2 * _kernel(a, b).mean()


def content_preservation(inferred: Float[Tensor, "images features"], truth: Float[Tensor, "images features"]) -> float:
    """The share of inferred images whose nearest true image is their own, the one in the same row.

    It asks whether the person, or whatever the image shows, can still be told after the imagination was biased
    (rank-1 identification, as face recognition is measured: Kemelmacher-Shlizerman et al., CVPR 2016). Chance is one in
    the number of images, so compare it between equally many. Equally near images share the point. Both sets are first
    brought to mean 0 and spread 1 in every feature: what all imagined images have in common, such as their age or that
    they are blurred, tells none from another and is no loss of content.

    Raises UserError for features that are not finite.
    """
    inferred, truth = _standardized(_finite(inferred).double()), _standardized(_finite(truth).double())
    rows = torch.arange(len(truth), device=truth.device)
    points = []
    for some, own in zip(inferred.split(_AT_ONCE), rows.split(_AT_ONCE), strict=True):
        # not by matrix products, whose rounding would tell equal images apart
        distance = torch.cdist(some, truth, compute_mode="donot_use_mm_for_euclid_dist")
        nearest = distance == distance.amin(1, keepdim=True)
        points.append(nearest.gather(1, own[:, None])[:, 0] / nearest.sum(1))
    return torch.cat(points).mean().item()


def _checked(a: Features, b: Features) -> tuple[Tensor, Tensor]:
    fewest = min(len(a), len(b))
    if fewest < 2:
        raise UserError(f"{fewest} images", "have no distribution", "compare two or more with two or more")
    return _finite(a).double(), _finite(b).double()


def _finite(features: Features) -> Features:
    broken = (~features.isfinite()).any(1).sum().item()
    if broken:
        reason = f"{broken:,} of {len(features):,} images have some that are not finite"
        raise UserError("features", reason, "look for the step at which the images broke")
    return features


def _standardized(features: Features) -> Features:
    spread = features.std(0, correction=0)
    return (features - features.mean(0)) / torch.where(spread > 0, spread, 1.0)


def _root(features: Features) -> Float[Tensor, "rows features"]:
    """R with R^T R the covariance."""
    return torch.linalg.qr(features - features.mean(0), mode="r")[1] / (len(features) - 1) ** 0.5


def _drawn(features: Features, size: int, rng: torch.Generator) -> Features:
    return features[torch.randperm(len(features), generator=rng)[:size].to(features.device)]


def _kernel(a: Features, b: Features) -> Float[Tensor, "_ _"]:
    return (a @ b.mT / a.shape[1] + 1) ** 3


def _mean_of_different(kernel: Float[Tensor, "samples samples"]) -> Float[Tensor, ""]:
    count = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1))
