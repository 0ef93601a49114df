"""What these jobs need from inside Ray is there, in the release that is installed."""

import inspect
import re
from pathlib import Path

import pytest
import ray
from ray.tune.schedulers import PopulationBasedTraining

import ray_jobs
from ray_jobs.launch import ray_internals

PRIVATE_MODULE = re.compile(r"(?:from|import) ray\.(?:\w+\.)*(?:_\w+|v2|execution)\b")


def test_every_name_is_there():
    assert all(hasattr(ray_internals, name) for name in ray_internals.__all__)


@pytest.mark.parametrize(
    ("owner", "attributes"),
    [
        (ray_internals.ElasticScalingPolicy, ["_get_reserved_resources", "_autoscaling_coordinator", "_requester_id"]),
        (ray_internals.TorchTrainer, ["_initialize_and_run_controller"]),
        (ray_internals.cluster_state, ["get_draining_nodes"]),
        (PopulationBasedTraining, ["_trial_state", "_next_perturbation_sync", "_perturbation_interval"]),
        (ray.init, ["_memory", "_system_config"]),
    ],
)
def test_what_is_overridden_or_used_is_there(owner, attributes):
    """Some are made when an object is: they stand in the source of its class or of those above it."""
    classes = inspect.getmro(owner) if inspect.isclass(owner) else [owner if callable(owner) else type(owner)]
    source = "".join(inspect.getsource(one) for one in classes if one is not object)
    for attribute in attributes:
        assert re.search(rf"\b{attribute}\b", source), attribute


def test_no_other_file_looks_inside_ray():
    folder = Path(ray_jobs.__file__).parent
    files = [path for path in folder.rglob("*.py") if path.name != "ray_internals.py"]
    found = [path.name for path in files if PRIVATE_MODULE.search(path.read_text())]
    assert found == []
