"""The device of a run's tensors: chosen here, once, and handed down; nothing else asks whether there is a GPU."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from aign.errors import UserError

DeviceOption = Literal["auto", "cpu", "cuda"]


def choose_device(asked: DeviceOption = "auto", num_workers: int = 1) -> torch.device:
    """The device of this machine that so many workers compute on: on GPUs, each worker has one of its own.

    ``auto`` is CUDA if there are GPUs enough, else the CPU. Raises UserError for ``cuda`` without enough of them.
    """
    if asked == "cpu":
        return torch.device("cpu")
    found = num_gpus()
    if found >= num_workers:
        return torch.device("cuda")
    if asked == "cuda":
        workers = "1 worker needs a GPU" if num_workers == 1 else f"{num_workers} workers need a GPU each"
        raise UserError("device = cuda", f"{workers}, this machine has {found}", "use --device cpu or fewer workers")
    return torch.device("cpu")


def num_gpus() -> int:
    """How many GPUs of this machine PyTorch can use."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def to_device(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Named tensors on a device. The host does not wait for copies to a GPU: they are made from pinned memory."""
    return {name: _sent(tensor, device) for name, tensor in tensors.items()}


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=device.type != "cpu")  # to the CPU it would be read before it has arrived
