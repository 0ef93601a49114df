"""The device is chosen in one place."""

import pytest
import torch

from aign.device import choose_device, to_device
from aign.errors import UserError


@pytest.fixture
def machine_with(monkeypatch):
    def machine_with(num_gpus):
        """From now on this machine has so many GPUs."""
        monkeypatch.setattr(torch.cuda, "is_available", lambda: num_gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)

    return machine_with


@pytest.mark.parametrize(
    ("asked", "num_gpus", "num_workers", "chosen"),
    [
        ("auto", 0, 1, "cpu"),
        ("auto", 1, 1, "cuda"),
        ("auto", 1, 2, "cpu"),
        ("auto", 2, 2, "cuda"),
        ("cpu", 8, 1, "cpu"),
        ("cuda", 4, 4, "cuda"),
    ],
)
def test_each_worker_has_a_gpu_of_its_own_or_none_has(asked, num_gpus, num_workers, chosen, machine_with):
    machine_with(num_gpus)
    assert choose_device(asked, num_workers) == torch.device(chosen)


@pytest.mark.parametrize(("num_gpus", "num_workers"), [(0, 1), (1, 2)])
def test_gpus_that_are_not_there(num_gpus, num_workers, machine_with):
    machine_with(num_gpus)
    with pytest.raises(UserError) as refused:
        choose_device("cuda", num_workers)
    assert refused.value.value == "device = cuda"


def test_a_gpu_that_pytorch_cannot_use_does_not_count(machine_with, monkeypatch):
    """An old driver: devices are listed, but none is available."""
    machine_with(1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")


def test_tensors_are_sent_by_name():
    sent = to_device({"a": torch.ones(2), "b": torch.zeros(3, dtype=torch.int64)}, torch.device("meta"))
    assert {name: (tensor.shape, tensor.device.type) for name, tensor in sent.items()} == {
        "a": ((2,), "meta"),
        "b": ((3,), "meta"),
    }
