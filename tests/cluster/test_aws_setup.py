"""What is made once in AWS: sound to cfn-lint, and machines may do what they need there, and no more.

The server of the tests knows resources and actions of policies, but no conditions, and asks for rights to a bucket
where AWS asks for those to the objects that one request removes.
"""

import copy
import json
import re
from collections import defaultdict

import boto3
import pytest
import requests
from cfnlint.api import lint_file
from cfnlint.decode import decode
from moto import mock_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler.tags import NODE_KIND_WORKER, TAG_RAY_LAUNCH_CONFIG, TAG_RAY_NODE_KIND, TAG_RAY_NODE_STATUS

from aign.data.cache import made_once
from aign.errors import UserError
from aign.storage.store import Store
from cluster.render import values
from tests.object_store import KEYS, serve

AWS = values()["aws"]
NAMES = {
    "AWS::Partition": "aws",
    "AWS::AccountId": AWS["account"],
    "Bucket": AWS["bucket"],
    "Bucket.Arn": f"arn:aws:s3:::{AWS['bucket']}",
    "Images.Arn": f"arn:aws:ecr:{AWS['region']}:{AWS['account']}:repository/aign",
    "WorkerRole.Arn": f"arn:aws:iam::{AWS['account']}:role/aign-worker",
}
"""What AWS puts in the place of names; of all others the name itself."""
ACTIONS_OF_RUN_INSTANCES = {"iam:PassRole", "ssm:GetParameters"}
"""What AWS also asks for when a machine starts with a role, from an image that a parameter names."""


@pytest.fixture(scope="session")
def resources(folder):
    """Properties by name, as AWS understands them."""
    template, mistakes = decode(folder / "aws_setup.yaml")
    assert not mistakes
    return {name: understood(resource.get("Properties", {})) for name, resource in template["Resources"].items()}


def understood(value):
    if isinstance(value, list):
        return [understood(part) for part in value]
    if not isinstance(value, dict):
        return value
    if "Fn::GetAtt" in value:
        return NAMES[".".join(value["Fn::GetAtt"])]
    if "Fn::Sub" in value:
        return re.sub(r"\$\{(.+?)\}", lambda found: NAMES[found[1]], value["Fn::Sub"])
    if "Ref" in value:
        return NAMES.get(value["Ref"], value["Ref"])
    return {key: understood(part) for key, part in value.items()}


def policies(resources, role):
    """The policies of a role, ``Worker`` or ``Head``."""
    return [resources[policy]["PolicyDocument"] for policy in resources[f"{role}Role"]["ManagedPolicyArns"]]


def allowed(resources, role):
    """What it may do all that to, by action."""
    found = defaultdict(list)
    for statement in [statement for policy in policies(resources, role) for statement in policy["Statement"]]:
        assert statement["Effect"] == "Allow"
        for action in as_list(statement["Action"]):
            found[action] += as_list(statement["Resource"])
    return found


def as_list(value):
    return value if isinstance(value, list) else [value]


def test_it_is_sound(folder, tmp_path):
    assert not lint_file(folder / "aws_setup.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text((folder / "aws_setup.yaml").read_text().replace("DaysAfterInitiation: 1", "Days: 1"))
    assert lint_file(broken)


def test_the_bucket_is_closed_encrypted_and_cleans_up(resources):
    bucket = resources["Bucket"]
    assert list(bucket["PublicAccessBlockConfiguration"].values()) == [True] * 4
    assert bucket["BucketEncryption"]
    assert bucket["LifecycleConfiguration"]["Rules"][0]["AbortIncompleteMultipartUpload"]
    (denied,) = resources["BucketPolicy"]["PolicyDocument"]["Statement"]
    assert (denied["Effect"], denied["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_nodes_have_the_roles_that_it_makes(resources, read):
    made = {resources[f"{role}Profile"]["InstanceProfileName"] for role in ("Head", "Worker")}
    kinds = read("aws.yaml")["available_node_types"]
    had = {name: kind["node_config"]["IamInstanceProfile"]["Name"] for name, kind in kinds.items()}
    assert set(had.values()) == made
    assert had.pop("head") == resources["HeadProfile"]["InstanceProfileName"]
    assert set(had.values()) == {resources["WorkerProfile"]["InstanceProfileName"]}


def test_a_worker_uses_one_bucket_and_fetches_the_image_and_no_more(resources):
    may = allowed(resources, "Worker")
    assert may.pop("ecr:GetAuthorizationToken") == ["*"]
    for action, things in may.items():
        assert "*" not in action
        assert all(thing.startswith((NAMES["Bucket.Arn"], NAMES["Images.Arn"])) for thing in things), action
    assert {action.split(":")[0] for action in may} == {"s3", "ecr"}


def test_the_head_may_do_what_ray_does_with_machines(resources, read, monkeypatch):
    for name, value in {**KEYS, "AWS_DEFAULT_REGION": AWS["region"]}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    config, done = read("aws.yaml"), set()
    with mock_aws():
        node_config = copy.deepcopy(config["available_node_types"]["gpu-spot"]["node_config"])
        node_config["SubnetIds"] = [boto3.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]]
        node_config["ImageId"] = "ami-12c6146b"  # it knows no parameters
        del node_config["IamInstanceProfile"]  # nor this one
        provider = AWSNodeProvider(config["provider"], config["cluster_name"])
        for resource in (provider.ec2, provider.ec2_fail_fast):
            events = resource.meta.client.meta.events
            events.register("before-call.ec2", lambda model, **_: done.add(f"ec2:{model.name}"))
        tags = {TAG_RAY_NODE_KIND: NODE_KIND_WORKER, TAG_RAY_NODE_STATUS: "uninitialized", TAG_RAY_LAUNCH_CONFIG: "x"}
        provider.create_node(node_config, tags, 1)
        (node,) = provider.non_terminated_nodes({})
        provider.set_node_tags(node, {TAG_RAY_NODE_STATUS: "up-to-date"})
        provider.internal_ip(node)
        provider.terminate_nodes([node])

    may = set(allowed(resources, "Head")) - set(allowed(resources, "Worker"))
    assert done >= {"ec2:RunInstances", "ec2:CreateTags", "ec2:TerminateInstances"}
    assert may == done | ACTIONS_OF_RUN_INSTANCES


def test_the_head_passes_on_no_role_but_the_workers(resources):
    assert allowed(resources, "Head")["iam:PassRole"] == [NAMES["WorkerRole.Arn"]]


@pytest.fixture
def as_a_worker(resources, monkeypatch):
    """A store with the bucket and another one, that this process uses with a worker's rights."""
    with serve() as endpoint:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
            monkeypatch.setenv(name, value)
        iam, s3 = boto3.client("iam"), boto3.client("s3")
        for bucket in (AWS["bucket"], "another-bucket"):
            s3.create_bucket(Bucket=bucket)
        iam.create_user(UserName="worker")
        for number, policy in enumerate(policies(resources, "Worker")):
            iam.put_user_policy(UserName="worker", PolicyName=f"policy-{number}", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName="worker")["AccessKey"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        requests.post(f"{endpoint}/moto-api/reset-auth", data=b"0").raise_for_status()  # from now on it asks for rights
        yield


def test_workers_share_what_is_made_once(as_a_worker, read, monkeypatch, tmp_path):
    options = read("aws.yaml")["docker"]["run_options"]
    (option,) = [option for option in options if option.startswith("--env AIGN_CACHE=")]
    monkeypatch.setenv("AIGN_CACHE", option.partition("=")[2])
    for machine in ("head", "worker"):
        monkeypatch.setattr("aign.data.cache.user_cache_path", lambda _, machine=machine: tmp_path / machine)
        folder = made_once("a", lambda folder, machine=machine: (folder / "by").write_text(machine))
        assert (folder / "by").read_text() == "head"


def test_a_worker_stores_runs_in_the_bucket_and_nowhere_else(as_a_worker, tmp_path):
    store = Store(f"s3://{AWS['bucket']}/runs")
    store.check()  # writes, lists, reads and removes
    large = tmp_path / "large"
    large.write_bytes(bytes(51 << 20))  # sent in parts
    store.upload(large, "a/large")
    assert store.names("a") == ["large"]
    with pytest.raises(UserError, match="credentials are refused"):
        Store("s3://another-bucket/runs").check()
