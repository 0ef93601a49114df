"""Robust continuous clustering with the general loss, section 3.4 of Barron's paper.

    cluster(images.flatten(1)).labels                   # alpha = -2 is RCC itself

``python -m aign.fitting.clustering --help`` compares alphas on real digits or generated images.
"""

from aign.fitting.clustering.agreement import adjusted_mutual_information
from aign.fitting.clustering.cluster import Clustering, cluster

__all__ = ["Clustering", "adjusted_mutual_information", "cluster"]
