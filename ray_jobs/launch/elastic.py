"""Machines come and go: a run grows and shrinks with them, and saves before its workers have to leave.

Ray Train decides and restarts. Added here: it counts machines when it decides instead of up to 20 seconds before,
leaves out those that are about to go, and ends healthy workers only when a checkpoint has arrived in storage.
"""

import time
from typing import Any

import ray

from aign.storage.errors import StoreAway
from aign.storage.store import Store
from aign.training.notice import Notice
from ray_jobs.launch.ray_internals import (
    AUTOSCALING_REQUESTS_GET_TIMEOUT_S,
    ControllerCallback,
    ElasticScalingPolicy,
    NoopDecision,
    PreemptionError,
    ResizeDecision,
    ScalingConfig,
    ScalingDecision,
    TorchTrainer,
    WorkerGroupCallback,
    cluster_state,
)
from ray_jobs.runs.checkpoints import checkpoint_steps

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_SAVE = 60.0


class Saving:
    """A checkpoint that the workers of a run are asked for, seen from Ray Train's controller."""

    def __init__(self, run: Store, mailbox: Any) -> None:
        self._run, self._began, self._looked = run, time.monotonic(), time.monotonic()
        self._before = self._newest()
        mailbox.notify.remote(Notice.SAVE)

    def has_arrived(self) -> bool:
        """Whether storage has a newer one than when it was asked for; looks once a second."""
        if time.monotonic() - self._looked < SECONDS_BETWEEN_LOOKS:
            return False
        newest = self._newest()
        self._looked = time.monotonic()
        if self._before is None:
            self._before = newest
        return newest is not None and self._before is not None and newest > self._before

    def takes_too_long(self) -> bool:
        return time.monotonic() - self._began > SECONDS_TO_SAVE

    def _newest(self) -> int | None:
        """The step of the newest checkpoint, 0 before the first; None while the store is away."""
        try:
            return next(iter(checkpoint_steps(self._run)), 0)
        except StoreAway:
            return None


class SaveBeforeLeaving(WorkerGroupCallback, ControllerCallback):
    """When a machine is about to go, the run saves, and goes on without it as soon as the checkpoint has arrived.

    The mailbox is told where the run's workers come from, and when there are none.
    """

    def __init__(self, run: Store, mailbox: Any) -> None:
        self._run, self._mailbox = run, mailbox
        self._saving: Saving | None = None

    def after_controller_start(self, train_run_context: Any) -> None:
        ray.get(self._mailbox.controlled_by.remote(ray.get_runtime_context().current_actor))

    def after_worker_group_start(self, worker_group: Any) -> None:
        self._saving = None
        ray.get(self._mailbox.begin.remote())

    def after_worker_group_shutdown(self, worker_group_context: Any) -> None:
        ray.get(self._mailbox.begin.remote())

    def after_worker_group_poll_status(self, worker_group_status: Any) -> None:
        leaving = worker_group_status.get_preemption_info()
        if leaving is None or worker_group_status.finished:
            return
        if self._saving is None:
            self._saving = Saving(self._run, self._mailbox)
        elif self._saving.has_arrived():
            raise PreemptionError(leaving)  # Ray Train restarts the run and does not count it as a failure


class ElasticPolicy(ElasticScalingPolicy):
    """How many workers: as many as there are machines for, within the range."""

    def __init__(self, scaling_config: ScalingConfig, run: Store, mailbox: Any) -> None:
        super().__init__(scaling_config)
        self._run, self._mailbox = run, mailbox
        self._resize: tuple[ResizeDecision, Saving] | None = None

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        self._resize = None
        decision = super().make_decision_for_non_running_worker_group()
        if isinstance(decision, NoopDecision):
            time.sleep(SECONDS_BETWEEN_LOOKS)  # the controller would ask again at once, and keep a core busy
        return decision

    def make_decision_for_running_worker_group(
        self, worker_group_state: Any, worker_group_status: Any
    ) -> ScalingDecision:
        if self._resize is None:
            decision = super().make_decision_for_running_worker_group(worker_group_state, worker_group_status)
            if isinstance(decision, ResizeDecision):
                self._resize = decision, Saving(self._run, self._mailbox)
            return NoopDecision()
        decision, saving = self._resize
        if not (saving.has_arrived() or saving.takes_too_long()):
            return NoopDecision()
        self._resize = None
        return decision

    def _get_reserved_resources(self) -> dict[str, dict[str, float]] | None:
        """What each machine has for this run, counted now; None if there was no answer."""
        answer = self._autoscaling_coordinator.get_reserved_resources.remote(self._requester_id, recompute=True)
        try:
            reserved = ray.get(answer, timeout=AUTOSCALING_REQUESTS_GET_TIMEOUT_S)
        except ray.exceptions.RayError:
            return None
        leaving = cluster_state.get_draining_nodes()
        return {machine: resources for machine, resources in reserved.items() if machine not in leaving}


class ElasticTorchTrainer(TorchTrainer):
    """A TorchTrainer whose number of workers, if it is a range, goes by ElasticPolicy."""

    def __init__(self, *args: Any, run: Store, mailbox: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._run, self._mailbox = run, mailbox

    def _initialize_and_run_controller(self, **controller: Any) -> Any:
        config: Any = self.scaling_config
        if config.elasticity_enabled:
            controller["scaling_policy"] = ElasticPolicy(config, self._run, self._mailbox)
        return super()._initialize_and_run_controller(**controller)
