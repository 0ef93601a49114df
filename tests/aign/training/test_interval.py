"""Two workers of different speed, one of which is told something: they meet at the same steps and hear it together."""

import json
import socket
import time

import pytest
import torch
import torch.distributed as dist

from aign.training import interval
from aign.training.interval import Interval
from aign.training.notice import Notice

NUM_WORKERS, TOLD_AT = 2, 12


def work(rank, port, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=NUM_WORKERS)
    interval.SECONDS_BETWEEN_LOOKS = 0.05
    ours, met, heard = Interval(4, 1.0, 0, {}, 0), [], Notice.NONE
    for step in range(1, 60):
        time.sleep(0.02 * rank)
        ours.add({"loss": torch.tensor(float(step + rank))})
        if ours.look_is_due:
            met.append(step)
            heard = ours.look(Notice.STOP if rank == 1 and step >= TOLD_AT else Notice.NONE)
        if heard:
            break
    found = {"met": met, "heard": heard, "step": step, "unlogged": ours.unlogged()}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(work, (port, folder), nprocs=NUM_WORKERS)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(NUM_WORKERS)]


def test_they_meet_at_the_same_steps_and_stop_together(workers):
    assert workers[0] == workers[1]
    assert workers[0]["heard"] == Notice.STOP
    assert workers[0]["met"][0] == 1
    assert workers[0]["step"] >= TOLD_AT


def test_what_is_in_no_line_yet_is_the_mean_over_workers(workers):
    sums, steps = workers[0]["unlogged"]
    assert steps == workers[0]["step"]
    assert sums == {"loss": sum(step + 0.5 for step in range(1, steps + 1))}
