"""The manifests for KubeRay: valid to its own schemas, to Ray's autoscaler, and their command to the command line."""

import copy
import gzip
import os
import shlex
from functools import cache
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig

from cluster.render import values
from ray_jobs import train
from ray_jobs.cli.options import parse
from ray_jobs.runs.job import GIB

KINDS = {"RayCluster": "rayclusters", "RayJob": "rayjobs"}
MANIFESTS = ("kuberay/raycluster.yaml", "kuberay/rayjob.yaml")
SETTINGS = values()

needs_schemas = pytest.mark.skipif(
    not (Path(os.environ.get("AIGN_DATA", "/nowhere")) / "kuberay").is_dir(),
    reason="needs KubeRay's schemas: set AIGN_DATA",
)


@cache
def schema(kind):
    """The schema of a kind, closed: a name that is not in it is a mistake."""
    path = Path(os.environ["AIGN_DATA"]) / "kuberay" / f"{KINDS[kind]}.yaml.gz"
    definition = yaml.load(gzip.decompress(path.read_bytes()), Loader=yaml.CSafeLoader)
    (version,) = [version for version in definition["spec"]["versions"] if version["name"] == "v1"]
    schema = closed(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own
    return schema


def closed(schema):
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    schema = {key: closed(part) for key, part in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        schema.setdefault("additionalProperties", False)
    return schema


def mistakes(manifest):
    found = jsonschema.Draft202012Validator(schema(manifest["kind"])).iter_errors(manifest)
    return "\n".join(f"{error.json_path}: {error.message}" for error in found)


def cluster_of(manifest):
    return manifest["spec"].get("rayClusterSpec", manifest["spec"])


def containers(manifest):
    groups = [cluster_of(manifest)["headGroupSpec"], *cluster_of(manifest)["workerGroupSpecs"]]
    return [(group["template"]["spec"], group["template"]["spec"]["containers"][0]) for group in groups]


@needs_schemas
@pytest.mark.parametrize("name", MANIFESTS)
def test_kuberay_takes_it(name, read):
    assert not mistakes(read(name))


@needs_schemas
@pytest.mark.parametrize("name", MANIFESTS)
@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda spec: spec.update(enableInTreeAutoscalling=True), "enableInTreeAutoscalling"),
        (lambda spec: spec["autoscalerOptions"].update(idleTimeoutSeconds="300"), "idleTimeoutSeconds"),
        (lambda spec: spec["workerGroupSpecs"][0].pop("groupName"), "groupName"),
        (lambda spec: spec["authOptions"].update(mode="tokens"), "tokens"),
        (lambda spec: spec["workerGroupSpecs"][1]["template"]["spec"].update(toleration=[]), "toleration"),
        (lambda spec: spec["headGroupSpec"]["template"]["spec"]["containers"][0].pop("name"), "name"),
        (lambda spec: spec["workerGroupSpecs"][2].update(labels=["spot"]), "labels"),
    ],
)
def test_kuberay_does_not_take_it_with_a_mistake(name, spoil, expected, read):
    manifest = read(name)
    spoil(cluster_of(manifest))
    assert expected in mistakes(manifest)


@pytest.mark.parametrize("name", MANIFESTS)
def test_rays_autoscaler_reads_the_shapes_of_the_settings(name, read):
    custom = {"metadata": {"name": "aign", "namespace": "default"}, "spec": copy.deepcopy(cluster_of(read(name)))}
    config = _derive_autoscaling_config_from_ray_cr(custom)
    kinds = dict(config["available_node_types"])
    assert config["idle_timeout_minutes"] == SETTINGS["idle_minutes"]
    assert kinds.pop("headgroup")["resources"]["CPU"] == 0
    assert set(kinds) == set(SETTINGS["workers"])
    for kind, node in SETTINGS["workers"].items():
        assert kinds[kind]["resources"]["CPU"] == node["pod"]["cpus"]
        assert kinds[kind]["resources"].get("GPU", 0) == node["gpus"]
        assert kinds[kind]["resources"]["memory"] == node["pod"]["memory_gib"] * GIB
        assert kinds[kind]["resources"]["spot" if node["spot"] else "on-demand"] >= 1
        assert len(kinds[kind]["resources"]) == (4 if node["gpus"] else 3)
        assert (kinds[kind]["min_workers"], kinds[kind]["max_workers"]) == (0, node["most"])
    first = max(
        AutoscalingConfig(config, skip_content_hash=True).get_node_type_configs().values(), key=lambda k: k.priority
    )
    assert SETTINGS["workers"][first.name]["spot"]


def test_both_have_the_same_cluster(read):
    assert len({str(cluster_of(read(name))) for name in MANIFESTS}) == 1


def test_accounts_are_those_of_the_pods(folder, read):
    accounts = yaml.safe_load_all((folder / "kuberay/accounts.yaml").read_text())
    made = {account["metadata"]["name"] for account in accounts if account}
    assert made == {pod["serviceAccountName"] for pod, _ in containers(read("kuberay/raycluster.yaml"))}


def test_containers_have_few_rights_and_no_secrets_of_their_own(read):
    for pod, container in containers(read("kuberay/raycluster.yaml")):
        assert pod["securityContext"]["runAsNonRoot"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {variable["name"] for variable in container["env"]} <= {
            "RAY_JOB_STOP_WAIT_TIME_S",
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S",
        }
        assert container["envFrom"] == [{"secretRef": {"name": "aign-storage", "optional": True}}]
        assert container["readinessProbe"]["httpGet"] == container["livenessProbe"]["httpGet"]


def test_ray_has_time_to_leave_before_a_worker_is_killed(read):
    for pod, container in containers(read("kuberay/raycluster.yaml"))[1:]:
        (patience,) = [v["value"] for v in container["env"] if v["name"] == "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"]
        assert pod["terminationGracePeriodSeconds"] > int(patience)


def test_only_spot_pods_go_to_spot_machines(read):
    for group in cluster_of(read("kuberay/raycluster.yaml"))["workerGroupSpecs"]:
        affinity = group["template"]["spec"]["affinity"]["nodeAffinity"]
        terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        operators = {expression["operator"] for term in terms for expression in term["matchExpressions"]}
        assert operators == ({"In"} if SETTINGS["workers"][group["groupName"]]["spot"] else {"NotIn"})


def test_the_job_is_a_run_that_goes_on_by_itself(read, tmp_path, monkeypatch, capsys):
    spec = read("kuberay/rayjob.yaml")["spec"]
    assert spec["shutdownAfterJobFinishes"]
    aign, verb, *argv = shlex.split(spec["entrypoint"])
    assert (aign, verb) == ("aign", "train")
    place = parse(argv).job.placement
    assert place.name, "a new cluster could not go on with it"
    assert place.storage.startswith("s3://")
    gpus = sum(node["most"] * node["gpus"] for node in SETTINGS["workers"].values())
    assert place.device == "cuda"
    assert place.workers.fewest <= gpus

    monkeypatch.setenv("RAY_ADDRESS", "auto")  # as in a job
    argv[argv.index("--storage") + 1] = str(tmp_path / "runs")
    train.command([*argv, "--dry-run"])
    assert "dry run: all checks passed" in capsys.readouterr().out
