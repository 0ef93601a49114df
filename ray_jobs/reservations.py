"""Which machines runs may count on. Ray's own bookkeeping of that forgets labels, and sets aside for a run on spot
machines whatever is there; here what a machine's label says is one more thing that it has, and a worker needs.
"""

import math
from typing import Any

import ray
from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import (
    _AutoscalingCoordinatorActor,
    _default_send_resources_request,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ray_jobs.job import MARKET

RAYS_NAME = "AutoscalingCoordinator"

Bundles = list[dict[str, float]]
Labels = list[dict[str, str]]


class Coordinator(_AutoscalingCoordinatorActor):
    """The actor that sets machines aside for the runs of a cluster, and asks the autoscaler for what is missing."""

    def __init__(self) -> None:
        super().__init__(send_resources_request=_send, get_cluster_nodes=lambda: [_labelled(n) for n in ray.nodes()])

    def request_resources(  # type: ignore[override]
        self, requester_id: str, resources: Bundles, label_selectors: Labels | None = None, **how: Any
    ) -> None:
        """Ray's, for workers of which each may need a label."""
        labels = label_selectors or [{}] * len(resources)
        needs = [{**bundle, **_market(wanted, 1)} for bundle, wanted in zip(resources, labels, strict=True)]
        super().request_resources(requester_id, needs, label_selectors=label_selectors, **how)


def start_coordinator() -> None:
    """Start it in place of Ray's, unless the cluster has one already: there is one for all programs on it."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    own = {"name": RAYS_NAME, "namespace": RAYS_NAME, "get_if_exists": True, "lifetime": "detached"}
    actor: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Coordinator)
    actor.options(**own, scheduling_strategy=here).remote()


def _market(labels: dict[str, str], amount: float) -> dict[str, float]:
    """What labels say of how a machine was bought, as a resource."""
    return {f"{MARKET}={labels[MARKET]}": amount} if labels.get(MARKET) in ("spot", "on-demand") else {}


def _labelled(node: dict[str, Any]) -> dict[str, Any]:
    return {**node, "Resources": {**node["Resources"], **_market(node["Labels"], math.inf)}}


def _send(needs: Bundles, label_selectors: Labels | None = None) -> None:
    """To the autoscaler, which knows labels."""
    plain = [{kind: n for kind, n in bundle.items() if not kind.startswith(MARKET)} for bundle in needs]
    _default_send_resources_request(plain, label_selectors)
