"""A job computes on the device that was asked for, whatever this machine has; CPU workers are shown no GPU."""

import os
import subprocess
import sys

import pytest
import ray
import torch

from aign.errors import UserError
from ray_jobs.cli.options import parse
from ray_jobs.launch.devices import with_device
from ray_jobs.launch.signals import StopSignal
from ray_jobs.launch.start import _run_here
from ray_jobs.launch.trainer import _trainer


@pytest.fixture
def job(monkeypatch):
    """Makes a job on a machine, or a cluster, with so many GPUs."""

    def job(*argv, here=0, cluster=None):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: here > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: here)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        if cluster is not None:
            monkeypatch.setenv("RAY_ADDRESS", "auto")
            monkeypatch.setattr(ray, "nodes", lambda: cluster)
        return parse(["pose", "--name", "a", *argv]).job

    return job


def machine(gpus, cpus=4, alive=True, market="spot"):
    """As Ray describes it."""
    return {"Alive": alive, "Resources": {"CPU": cpus, "GPU": gpus}, "Labels": {"ray.io/market-type": market}}


@pytest.mark.parametrize(
    ("argv", "here", "cluster", "device", "says"),
    [
        (["--workers", "2"], 0, None, "cpu", None),
        (["--workers", "2"], 1, None, "cpu", "1 GPUs for 2 workers"),
        (["--workers", "2"], 2, None, "cuda", None),
        (["--workers", "1:4"], 1, None, "cuda", None),
        (["--workers", "0"], 1, None, "cuda", None),
        (["--device", "cpu"], 8, None, "cpu", None),
        (["--workers", "2"], 8, [machine(0), machine(1)], "cpu", "the cluster has 1 GPUs"),
        (["--workers", "2"], 0, [machine(1), machine(1)], "cuda", None),
        (["--workers", "2"], 0, [machine(2), machine(8, alive=False)], "cuda", None),
        (["--workers", "2"], 0, [machine(8, alive=False)], "cpu", "0 GPUs"),
        (["--workers", "2"], 0, [machine(8, cpus=1)], "cpu", "1 GPUs"),
        (["--workers", "2", "--machines", "on-demand"], 0, [machine(8)], "cpu", "0 GPUs"),
        (["--workers", "2", "--device", "cuda"], 0, [machine(0)], "cuda", None),
        (["--workers", "0"], 0, [machine(8)], "cpu", None),
    ],
)
def test_auto_goes_by_the_gpus_of_where_the_workers_will_be(argv, here, cluster, device, says, job):
    chosen, known = with_device(job(*argv, here=here, cluster=cluster))
    assert chosen.placement.device == device
    assert chosen.to_json()["placement"]["device"] == device
    assert [says in text for text in known] == ([True] if says else [])


def test_a_gpu_is_wanted_where_there_is_none(job):
    with pytest.raises(UserError) as refused:
        with_device(job("--device", "cuda"))
    assert refused.value.value == "device = cuda"


def test_an_offloaded_optimizer_is_refused_once_the_device_is_known(job):
    with pytest.raises(UserError) as refused:
        with_device(job("--offload-optimizer"))
    assert refused.value.value == "offload_optimizer"
    with_device(job("--offload-optimizer", here=2))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_workers_on_cpus_are_shown_no_gpu(device, job, tmp_path):
    trainer = _trainer(job("--workers", "1", "--device", device, here=1), mailbox=None, scratch=str(tmp_path))
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    assert trainer.run_config.worker_runtime_env["env_vars"] == hidden
    assert trainer.scaling_config.use_gpu == (device == "cuda")
    assert trainer.scaling_config.resources_per_worker.get("GPU", 0) == (device == "cuda")
    assert trainer.backend_config.backend == ("nccl" if device == "cuda" else "gloo")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_run_in_this_process_is_given_the_device_of_its_job(device, job, monkeypatch):
    given = []
    monkeypatch.setattr("ray_jobs.launch.start.run_worker", lambda job, tell, look, device: given.append(device))
    _run_here(job("--workers", "0", "--device", device, here=1), print, StopSignal())
    assert given == [torch.device(device)]


SEEN = """
import os, torch
torch.cuda.is_available = lambda: True
from ray_jobs.worker.deepspeed_engine import import_deepspeed
from deepspeed.accelerator import get_accelerator
import_deepspeed(torch.device("cpu"))
print(get_accelerator().device_name(), torch.distributed.get_backend())
"""


def test_deepspeed_follows_the_device_and_not_what_the_machine_has():
    """In a process of its own: DeepSpeed chooses its accelerator once."""
    env = {name: value for name, value in os.environ.items() if name != "DS_ACCELERATOR"}
    seen = subprocess.run([sys.executable, "-c", SEEN], env=env, capture_output=True, text=True, check=False)
    assert seen.stdout.split()[-2:] == ["cpu", "gloo"], seen.stderr
