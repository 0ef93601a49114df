"""The files of ``ray up``: valid to Ray, to AWS and to Google, and Ray starts the machines that jobs need."""

import copy
import json
from functools import cache
from pathlib import Path

import botocore.session
import googleapiclient
import jsonschema
import pytest
from botocore.validate import ParamValidator
from ray._private.ray_constants import DEFAULT_OBJECT_STORE_MEMORY_PROPORTION
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

from cluster.render import values
from ray_jobs.runs.job import GIB, Placement

CLOUDS = ("aws", "gcp")


def node_configs(config):
    return {name: kind["node_config"] for name, kind in config["available_node_types"].items()}


@cache
def run_instances():
    """AWS's own model of a request for instances."""
    return botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape


def find_in_aws(node_config):
    """What AWS has against a node; how many are wanted is for Ray to add."""
    return ParamValidator().validate({**node_config, "MinCount": 1, "MaxCount": 1}, run_instances()).generate_report()


@cache
def instance():
    """Google's own description of an instance, closed: a name that is not in it is a mistake."""
    document = Path(googleapiclient.__file__).parent / "discovery_cache/documents/compute.v1.json"
    schemas = json.loads(document.read_text())["schemas"]
    for schema in schemas.values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return jsonschema.Draft4Validator({"definitions": schemas, "$ref": "Instance"})  # they refer to each other by name


def find_in_gcp(node_config):
    """What Google has against a node: names, types and choices, nothing more."""
    return "\n".join(error.message for error in instance().iter_errors(node_config))


FIND = {"aws": find_in_aws, "gcp": find_in_gcp}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_ray_takes_it(cloud, read):
    validate_config(prepare_config(read(f"{cloud}.yaml")))


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda config: config.update(idle_timeout_minuts=5),
        lambda config: config["available_node_types"]["gpu"].update(max_workers="4"),
        lambda config: config["available_node_types"]["gpu"]["resources"].update(GPU=-1),
        lambda config: config["docker"].update(imagge="x"),
        lambda config: config.update(head_node_type="haed"),
    ],
)
def test_ray_does_not_take_it_with_a_mistake(cloud, spoil, read):
    config = read(f"{cloud}.yaml")
    spoil(config)
    with pytest.raises((ValueError, jsonschema.ValidationError)):
        validate_config(prepare_config(config))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_its_cloud_takes_every_node(cloud, read):
    for node_config in node_configs(read(f"{cloud}.yaml")).values():
        assert not FIND[cloud](node_config)


@pytest.mark.parametrize(
    ("cloud", "spoil", "expected"),
    [
        ("aws", lambda node: node.update(InstanceTyp="g6.2xlarge"), "InstanceTyp"),
        ("aws", lambda node: node.update(IamInstanceProfile="aign-worker"), "IamInstanceProfile"),
        ("aws", lambda node: node["BlockDeviceMappings"][0]["Ebs"].update(VolumeSize="150"), "VolumeSize"),
        ("gcp", lambda node: node.update(machinetype="g2-standard-8"), "machinetype"),
        ("gcp", lambda node: node["scheduling"].update(provisioningModel="SPOTTY"), "SPOTTY"),
        ("gcp", lambda node: node["disks"][0]["initializeParams"].update(diskSizeGB="150"), "diskSizeGB"),
    ],
)
def test_its_cloud_does_not_take_a_node_with_a_mistake(cloud, spoil, expected, read):
    node_config = node_configs(read(f"{cloud}.yaml"))["gpu-spot"]
    spoil(node_config)
    assert expected in FIND[cloud](node_config)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_nodes_have_what_their_machines_have(cloud, read):
    config = read(f"{cloud}.yaml")
    for name, node in values()["workers"].items():
        kind, machine = config["available_node_types"][name], node["machines"][cloud]
        assert kind["node_config"]["InstanceType" if cloud == "aws" else "machineType"] == machine["name"]
        assert kind["resources"]["CPU"] == machine["cpus"]
        assert kind["resources"].get("GPU", 0) == machine["gpus"]
        assert kind["resources"]["memory"] == int(
            machine["memory_gib"] * GIB * (1 - DEFAULT_OBJECT_STORE_MEMORY_PROPORTION)
        )
        image = kind.get("docker", config["docker"])
        assert image.get("worker_image", image.get("image")).endswith("-cuda" if machine["gpus"] else "-cpu")
        assert kind["min_workers"] == 0
    assert config["available_node_types"]["head"]["resources"] == {"CPU": 0}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_only_spot_nodes_are_bought_as_such(cloud, read):
    bought = {
        name
        for name, node in node_configs(read(f"{cloud}.yaml")).items()
        if node.get("InstanceMarketOptions") == {"MarketType": "spot"}
        or node.get("scheduling", {}).get("provisioningModel") == "SPOT"
    }
    assert bought == {name for name, node in values()["nodes"].items() if node["spot"]}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_worker_node_says_how_it_was_bought(cloud, read):
    kinds = read(f"{cloud}.yaml")["available_node_types"]
    for name, node in values()["workers"].items():
        assert ("spot" in kinds[name]["resources"], "on-demand" in kinds[name]["resources"]) == (
            node["spot"],
            not node["spot"],
        )


def request(place):
    """What Ray asks its autoscaler for, for one worker."""
    return ResourceRequestUtil.make(place.needs)


def launched(config, wanted, unavailable=()):
    """What Ray's scheduler starts for some workers on a cluster without any, by kind of node."""
    config = AutoscalingConfig(copy.deepcopy(config), skip_content_hash=True)
    reply = ResourceDemandScheduler().schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=config.get_node_type_configs(),
            max_num_nodes=config.get_max_num_nodes(),
            resource_requests=ResourceRequestUtil.group_by_count([request(place) for place in wanted]),
            recoverable_resource_availabilities=dict.fromkeys(unavailable, 0.0),
        )
    )
    return {launch.instance_type: launch.count for launch in reply.to_launch}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_ray_starts_spot_machines_first_and_no_gpus_for_staging(cloud, read):
    config = read(f"{cloud}.yaml")
    with_gpu = Placement(device="cuda")
    assert launched(config, [with_gpu] * 4) == {"gpu-spot": 4}
    assert launched(config, [with_gpu] * 4, unavailable=["gpu-spot"]) == {"gpu": 4}
    assert launched(config, [with_gpu] * 10) == {"gpu-spot": 8, "gpu": 2}
    assert launched(config, [Placement()] * 16) == {"cpu": 2}
    assert launched(config, []) == {}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_ray_starts_the_machines_that_a_job_asks_for(cloud, read):
    config = read(f"{cloud}.yaml")
    assert launched(config, [Placement(device="cuda", machines="on-demand")] * 6) == {"gpu": 4}
    assert launched(config, [Placement(device="cuda", machines="spot")] * 10) == {"gpu-spot": 8}
    assert launched(config, [Placement(machines="on-demand")] * 16) == {"cpu": 2}
    assert launched(config, [Placement(memory_per_worker=8)] * 4) == {"cpu": 2}
    assert launched(config, [Placement(memory_per_worker=32)] * 4) == {}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_secrets_are_no_part_of_it(cloud, folder):
    text = (folder / f"{cloud}.yaml").read_text()
    assert "SECRET_ACCESS_KEY" not in text
    assert "RAY_AUTH_TOKEN=" not in text
    assert "RAY_AUTH_MODE=token" in text
