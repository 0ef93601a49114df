"""Stored runs that cases begin with: made once, copied into the folder of each case that uses one."""

import os
import shutil
from pathlib import Path

from tests.fuzz.pixels import picture

TINY = ("--workers", "0", "--width", "8", "--num-blocks", "1", "--steps", "4", "--log-every", "1")
OFTEN = ("--checkpoint-every", "2", "--evaluate-every", "4")
POSE = ("pose", "--preset", "forward2dto3d", "--num-components", "4", "--batch-size", "8", *TINY, *OFTEN)
"""The command of the run ``pose``: networks alone, no discriminators."""
FACES_DATA = ("--data", "folder", "--source", "photos", "--size", "44")
FACES = ("superres", *FACES_DATA, "--batch-size", "4", "--discriminator-width", "4", *TINY, *OFTEN)
DIGITS = ("digits", "--num-images", "40", "--num-test", "20", "--batch-size", "8", *TINY, *OFTEN)
NUM_PHOTOS = 50
"""Enough for sixteen memories beside as many inputs, and some to lose."""
SWEEP = (*POSE, "--space", "generator_lr={log:1e-4:1e-2}", "--trials", "2", "--name", "sweep")

_folder: Path | None = None


def build(folder: Path) -> None:
    """Train the runs, with this process's own commands."""
    from ray_jobs.cli.console import run_command
    from ray_jobs.train import command as train

    global _folder
    _folder = folder
    before = os.getcwd()
    os.chdir(folder)
    lay_photos(folder / "photos", NUM_PHOTOS)
    for name, words in (("pose", POSE), ("faces", FACES), ("digits", DIGITS)):
        run_command(train, [*words, "--name", name])
    os.chdir(before)


def lay_photos(folder: Path, count: int, size: int = 44) -> None:
    """Some small photographs of two people or more, with a table."""
    folder.mkdir(parents=True)
    lines = ["file,identity,split,Male,Smiling,age"]
    for i in range(count):
        (folder / f"{i:03d}.png").write_bytes(picture(size, size, shade=i))
        split = {0: "validation", 1: "test"}.get(i % 10, "train")
        lines.append(f"{i:03d}.png,{i},{split},{i % 2 * 2 - 1},{1 if i % 3 else -1},{20 + i}")
    (folder / "attributes.csv").write_text("\n".join(lines) + "\n")


def copy(name: str, folder: Path, under: str = "runs") -> Path:
    """A stored run in the folder of a case."""
    assert _folder is not None
    return Path(shutil.copytree(_folder / "runs" / name, folder / under / name))
