"""Workers in processes of their own, which gloo joins."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


def run_workers(work: Callable[[int], Any], folder: Path, num_workers: int = 2) -> list[Any]:
    """What ``work(rank)``, a function of a module, returns on each of them: tensors, numbers and containers of them."""
    torch.multiprocessing.spawn(_worker, (work, str(folder), num_workers), nprocs=num_workers)
    return [torch.load(folder / f"{rank}.pt") for rank in range(num_workers)]


def _worker(rank: int, work: Callable[[int], Any], folder: str, num_workers: int) -> None:
    torch.set_num_threads(1)
    place = {"rank": rank, "world_size": num_workers}
    dist.init_process_group("gloo", init_method=Path(folder, "meeting-point").as_uri(), **place)
    torch.save(work(rank), Path(folder, f"{rank}.pt"))
    dist.destroy_process_group()
