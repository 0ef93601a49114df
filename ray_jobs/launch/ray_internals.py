"""All names that these jobs take from inside Ray, where its public interface has no other way.

Any release may move them, so pyproject.toml asks for one. Ray Train's own names are among them: a type checker finds
those of an older interface under the public ones.
"""

from ray._common.utils import get_system_memory
from ray._private.state import state as cluster_state
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.scaling_policy import (
    AUTOSCALING_REQUESTS_GET_TIMEOUT_S,
    ElasticScalingPolicy,
    NoopDecision,
    ResizeDecision,
    ScalingDecision,
)
from ray.train.v2.api.callback import UserCallback
from ray.train.v2.api.config import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.v2.api.exceptions import PreemptionError, TrainingFailedError
from ray.train.v2.torch.torch_trainer import TorchTrainer
from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE

__all__ = [
    "AUTOSCALING_REQUESTS_GET_TIMEOUT_S",
    "ENV_VARS_TO_PROPAGATE",
    "ControllerCallback",
    "ElasticScalingPolicy",
    "FailureConfig",
    "LoggingConfig",
    "NoopDecision",
    "PreemptionError",
    "ResizeDecision",
    "RunConfig",
    "ScalingConfig",
    "ScalingDecision",
    "TorchTrainer",
    "TrainingFailedError",
    "UserCallback",
    "WorkerGroupCallback",
    "cluster_state",
    "get_system_memory",
]
