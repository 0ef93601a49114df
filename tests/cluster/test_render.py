"""Everything is written once: files are what templates make of settings.toml, and versions are the pinned ones."""

import gzip
import json
import re
import tomllib
from pathlib import Path

import moto
import pytest

from cluster.render import pinned_version, render, values

GPUS_OF_G2 = {4: 1, 8: 1, 12: 1, 16: 1, 24: 2, 32: 1, 48: 4, 96: 8}
"""Google's table of its g2-standard machines: GPUs by CPUs."""
SYSTEM_CPUS, SYSTEM_GIB = 0.5, 3.0
"""What Kubernetes may keep of a machine for itself."""

SETTINGS = values()


@pytest.mark.parametrize("name", render())
def test_a_file_is_what_its_template_makes_of_the_settings(name, folder):
    assert (folder / name).read_text() == render()[name]


def test_ray_is_the_one_that_is_installed_and_pinned(read):
    assert read("kuberay/raycluster.yaml")["spec"]["rayVersion"] == pinned_version("ray")
    with pytest.raises(KeyError, match="pins no rey"):
        pinned_version("rey")


def test_images_are_named_after_the_version_of_the_project(folder):
    project = tomllib.loads((folder.parent / "pyproject.toml").read_text())["project"]
    tags = re.findall(r"image: \S+:(\S+)", "".join(render().values()))
    assert set(tags) == {f"{project['version']}-cpu", f"{project['version']}-cuda"}


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_machines_share_a_cache_in_the_bucket(cloud, read):
    assert f"--env AIGN_CACHE=s3://{SETTINGS[cloud]['bucket']}/cache" in read(f"{cloud}.yaml")["docker"]["run_options"]


def test_machines_of_aws_have_what_the_settings_say():
    known = Path(moto.__file__).parent / "ec2/resources/instance_types.json.gz"
    types = json.loads(gzip.decompress(known.read_bytes()))
    for node in SETTINGS["nodes"].values():
        said, real = node["machines"]["aws"], types[node["aws"]]
        assert said["cpus"] == real["VCpuInfo"]["DefaultVCpus"]
        assert said["memory_gib"] * 1024 == real["MemoryInfo"]["SizeInMiB"]
        assert said["gpus"] == sum(gpu["Count"] for gpu in real.get("GpuInfo", {}).get("Gpus", []))
        assert not node["spot"] or "spot" in real["SupportedUsageClasses"]


def test_machines_of_gcp_have_what_the_settings_say():
    for node in SETTINGS["nodes"].values():
        said = node["machines"]["gcp"]
        family, cpus = re.fullmatch(r"(n2|g2)-standard-(\d+)", node["gcp"]).groups()
        assert said["cpus"] == int(cpus)
        assert said["memory_gib"] == 4 * int(cpus)
        assert said["gpus"] == (GPUS_OF_G2[int(cpus)] if family == "g2" else 0)


def test_a_kind_of_node_is_the_same_on_all_clouds():
    for node in SETTINGS["nodes"].values():
        shapes = [{**machine, "name": ""} for machine in node["machines"].values()]
        assert shapes[0] == shapes[1]
        assert node["pod"]["cpus"] <= shapes[0]["cpus"] - SYSTEM_CPUS
        assert node["pod"]["memory_gib"] <= shapes[0]["memory_gib"] - SYSTEM_GIB
