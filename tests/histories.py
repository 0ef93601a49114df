"""Loss histories of every preset of every task, bit for bit: what a change of structure leaves as it is.

``python -m tests.histories record FILE`` before the change, ``python -m tests.histories compare FILE`` after it, on the
same machine with the same versions. Twenty steps of small networks, with plain PyTorch in one process and with
DeepSpeed engines (ZeRO stage 1) in one and in two; the metrics on the test set at the end are part of a history.
"""

import json
import os
import subprocess
import sys
import tempfile
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist

from aign.tasks import TASKS
from aign.training.engine import TorchEngine
from aign.training.loop import train
from aign.training.players import make_engines
from aign.training.run_config import RunConfig
from aign.training.workers import rank, world_size
from ray_jobs.worker.deepspeed_engine import DeepSpeedEngine

ROOT = Path(__file__).parents[1]
STEPS, BATCH_SIZE = 20, 8
IMAGES = {"num_images": 200, "size": 48, "width": 8, "discriminator_width": 4}
SMALL = {
    "pose": {"width": 32},
    "superres": IMAGES,
    "inpaint": IMAGES,
    "vae": {"size": 16, "num_images": 100, "width": 4, "latent_size": 6},
    "digits": {"num_images": 200, "num_validation": 200, "num_test": 200, "width": 4, "num_blocks": 1},
}
"""Options of small runs, by task."""
OF_A_MACHINE = ("samples_per_second", "data_wait_share")

Histories = dict[str, list]


class Diary:
    """A recorder that keeps all numbers that are learnt."""

    def __init__(self):
        self.history = []

    def log(self, progress, stage, values):
        learnt = {name: value for name, value in values.items() if name not in OF_A_MACHINE}
        self.history.append([progress.step, progress.clock, stage.name, learnt])

    def evaluation(self, progress, evaluation, draw_picture):
        self.history.append([progress.step, evaluation.metrics])

    def checkpoint(self, progress, engines):
        pass


def config(task: str, preset: str) -> RunConfig:
    small = SMALL[task]
    if preset.startswith("digits"):  # MNIST has one size and number
        small = {name: value for name, value in small.items() if name.endswith("width")}
    moments = {"log_every": 1, "evaluate_every": STEPS, "checkpoint_every": STEPS}
    return RunConfig.of(task, preset, **{"batch_size": BATCH_SIZE, "steps": STEPS, **moments, **small})


def histories(own_rank: str, num_workers: str, folder: str) -> None:
    """One process's part; the first one writes into ``folder``."""
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = own_rank
    place = {"rank": int(own_rank), "world_size": int(num_workers), "timeout": timedelta(seconds=300)}
    dist.init_process_group("gloo", init_method=Path(folder, "meeting-point").as_uri(), **place)
    share = {"micro_batch_size": BATCH_SIZE // world_size(), "offload": False}
    engines = {"DeepSpeed": partial(DeepSpeedEngine, zero_stage=1, **share)}
    if world_size() == 1:
        engines["plain"] = TorchEngine
    found: Histories = {}
    for task, kind in TASKS.items():
        for preset in kind.presets:
            for label, engine in engines.items():
                run, diary = config(task, preset), Diary()
                made = run.make_task()
                train(made, make_engines(made, run.training, engine), run.training, diary)
                found[f"{task} {preset}, {label}, {num_workers}"] = diary.history
    if rank() == 0:
        Path(folder, "found.json").write_text(json.dumps(found))


def record() -> Histories:
    found: Histories = {}
    for num_workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "tests.histories", "worker"]
            own = [[*command, str(rank), str(num_workers), folder] for rank in range(num_workers)]
            processes = [subprocess.Popen(one, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}) for one in own]
            assert not any([process.wait() for process in processes]), "a worker failed"
            found |= json.loads(Path(folder, "found.json").read_text())
    return found


def compare(before: Histories, now: Histories) -> list[str]:
    """Which differ, and from which entry on."""
    differences = [f"{name}: not there {when}" for name, when in _missing(before, now)]
    for name in before.keys() & now.keys():
        pairs = enumerate(zip(before[name], now[name], strict=False))
        first = next((entry for entry, (a, b) in pairs if json.dumps(a) != json.dumps(b)), None)
        if first is not None:
            differences.append(f"{name}: from {before[name][first]} to {now[name][first]}")
        elif len(before[name]) != len(now[name]):
            differences.append(f"{name}: {len(before[name])} entries, now {len(now[name])}")
    return differences


def _missing(before: Histories, now: Histories) -> list[tuple[str, str]]:
    return [(name, "before") for name in now.keys() - before.keys()] + [
        (name, "now") for name in before.keys() - now.keys()
    ]


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "worker":
        histories(*rest)
    elif verb == "record":
        Path(rest[0]).write_text(json.dumps(record(), indent=1))
    else:
        before, now = json.loads(Path(rest[0]).read_text()), json.loads(json.dumps(record()))
        differences = compare(before, now)
        print("\n".join(differences) or f"{len(before)} histories are the same, bit for bit")
        sys.exit(bool(differences))
