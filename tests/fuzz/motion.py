"""Motion capture as it is stored: CMU's and Human3.6M's arrays, in npz files with strange columns."""

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzz import mutations, world
from tests.fuzz.case import Call, Field, Lay, command, command_after_dry_run
from tests.fuzz.guard import canary

CMU_PARENTS = (-1, *(0, 1, 2, 3, 4, 5), *(0, 7, 8, 9, 10, 11), *(0, 13, 14, 15, 16, 17, 18))
CMU_PARENTS += (*(15, 20, 21, 22, 23, 24, 25, 23, 27), *(15, 29, 30, 31, 32, 33, 34, 32, 36))
CLIPS = ("walking_extra/1", *(f"wave/{i}" for i in range(1, 6)))
FRAMES = 30
STARTS = np.arange(len(CLIPS) + 1) * FRAMES
SUBJECTS = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")
Arrays = dict[str, Any]


def cmu() -> Arrays:
    """Six clips of thirty frames each: one in each turn of its roles."""
    rng = np.random.default_rng(0)
    return {
        "joints": rng.normal(scale=300, size=(len(CLIPS) * FRAMES, 38, 3)).astype(np.float32),
        "sequence_start": STARTS,
        "sequence_names": np.array(CLIPS),
        "parents": np.array(CMU_PARENTS),
    }


def h36m() -> Arrays:
    """Two takes of each subject."""
    rng = np.random.default_rng(0)
    takes = [f"{name}/Walking{take}" for name in SUBJECTS for take in ("", " 1")]
    return {take: rng.normal(size=(60, 32, 3)).astype(np.float32) for take in takes}


def train(folder: Path, data: str, content: bytes, *, dry: bool = True, **about: Any) -> Call:
    """The file in its place, and a run that reads it: only its dry run, or the run of a few steps too."""
    place = {"cmu": "data/cmu_mocap/joints_mm.npz", "h36m": "data/h36m/h36m_plain.npz"}[data]
    (folder / place).parent.mkdir(parents=True)
    (folder / place).write_bytes(content)
    words = ["train", *world.POSE, "--steps", "2", "--data", data, "--name", "new"]
    if dry:
        return command(*words, "--dry-run", **about)
    return command_after_dry_run(*words, results=("runs/new",), **about)


def packed(arrays: Arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def draw(random: Random, folder: Path) -> Call:
    data, arrays = random.choice((("cmu", cmu()), ("cmu", cmu()), ("h36m", h36m())))
    if random.random() < 0.25:
        return train(folder, data, mutations.damaged(random, packed(arrays)))
    for _ in range(random.choice((1, 1, 2))):
        name = random.choice(list(arrays))
        if random.random() < 0.1:
            del arrays[name]
        else:
            arrays[name] = _bent(random, np.asarray(arrays[name]))
        if not arrays:
            break
    return train(folder, data, packed(arrays), dry=random.random() < 0.8)


def _bent(random: Random, array: np.ndarray) -> np.ndarray:
    """An array with another type, shape, order or with values that are none."""
    kind = random.choice(("f4", "f8", "i8", "u1", "?", "c16", "U8", "S4", "f2"))
    rows = max(1, len(array)) if array.ndim else 1
    match random.randrange(9):
        case 0:
            return _cast(array, kind)
        case 1:
            return array[: random.randrange(rows)] if array.ndim else array
        case 2:
            return array[..., None]
        case 3:
            return array.reshape(-1)[:0]
        case 4:
            return array[::-1]
        case 5:
            return np.zeros_like(array)
        case 6:
            return array.reshape(-1)[0] if array.size else array
        case 7 if array.dtype.kind == "f":
            odd = array.copy().reshape(-1)
            odd[random.randrange(odd.size) :] = random.choice((np.nan, np.inf, 1e30, 0.0))
            return odd.reshape(array.shape)
        case _:
            if array.dtype.kind not in "if":
                return np.roll(array, 1)
            return array + np.asarray(random.choice((-1, 1, 1000, 10**9)), array.dtype)


def _cast(array: np.ndarray, kind: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        try:
            return array.astype(kind)
        except ValueError:
            return np.full(array.shape, 1, kind)


# --- what once went wrong ---------------------------------------------------------------------------------------------


def _cmu(dry: bool = True, /, nonsense: bool = True, **replaced: Any) -> Lay:
    arrays = {name: array for name, array in (cmu() | replaced).items() if array is not None}
    return lambda folder: train(folder, "cmu", packed(arrays), dry=dry, nonsense=nonsense)


def _h36m(change: Callable[[np.ndarray], np.ndarray], **about: Any) -> Lay:
    return lambda folder: train(folder, "h36m", packed({k: change(v) for k, v in h36m().items()}), **about)


def _pickled(folder: Path) -> Call:
    class Runs:
        def __reduce__(self) -> tuple:
            return exec, (f"open({str(canary(folder))!r}, 'w')",)

    return train(folder, "cmu", packed(cmu() | {"joints": np.array([Runs()], dtype=object)}), nonsense=True)


def _pickle_alone(folder: Path) -> Call:
    return train(folder, "cmu", pickle.dumps({"joints": [1]}), nonsense=True)


def _pipe(folder: Path) -> Call:
    call = train(folder, "cmu", b"", nonsense=True)
    path = folder / "data/cmu_mocap/joints_mm.npz"
    path.unlink()
    os.mkfifo(path)
    return call


JOINTS = cmu()["joints"]
CORPUS: dict[str, Lay] = {
    "whole": lambda folder: train(folder, "cmu", packed(cmu()), dry=False, sound=True),
    "Human3.6M whole": lambda folder: train(folder, "h36m", packed(h36m()), dry=False, sound=True),
    "joints of bool": _cmu(joints=JOINTS > 0),
    "joints of text": _cmu(joints=np.full(JOINTS.shape, "x")),
    "no joints at all": _cmu(joints=JOINTS[:0]),
    "joints all zero": _cmu(joints=JOINTS * 0),
    "joints x 1e30": _cmu(joints=JOINTS * np.float32(1e30)),
    "complex joints": _cmu(joints=JOINTS + 0j),
    "starts of floats": _cmu(sequence_start=STARTS * 1.0, nonsense=False),
    "starts of text": _cmu(sequence_start=np.array([str(start) for start in STARTS])),
    "starts in two dimensions": _cmu(sequence_start=STARTS[:, None]),
    "a single start": _cmu(sequence_start=np.array(0)),
    "no start": _cmu(sequence_start=np.array([], int)),
    "starts descend": _cmu(sequence_start=STARTS[::-1]),
    "starts are negative": _cmu(sequence_start=STARTS - 30),
    "starts lie beyond the end": _cmu(sequence_start=10 * STARTS),
    "starts are all equal": _cmu(sequence_start=np.zeros_like(STARTS)),
    "more names than clips": _cmu(sequence_names=np.array([*CLIPS, "wave/6", "wave/7"])),
    "fewer names than clips": _cmu(sequence_names=np.array(CLIPS[:2])),
    "parents too short": _cmu(parents=np.array(CMU_PARENTS[:20])),
    "parents of floats": _cmu(parents=np.array(CMU_PARENTS) * 1.0, nonsense=False),
    "parents in two dimensions": _cmu(parents=np.array(CMU_PARENTS)[:, None]),
    "parents in a circle": _cmu(parents=np.array([*CMU_PARENTS[:3], 4, 3, *CMU_PARENTS[5:]])),
    "parents out of range": _cmu(parents=np.array([*CMU_PARENTS[:37], 99])),
    "100 frames for more clips": _cmu(joints=JOINTS[:100]),
    "a column is missing": _cmu(parents=None),
    "a pickle inside": _pickled,
    "a pickle": _pickle_alone,
    "a pipe": _pipe,
    "Human3.6M at 0": _h36m(lambda clip: clip * 0, nonsense=True),
    "Human3.6M x 1e30": _h36m(lambda clip: clip * np.float32(1e30), nonsense=True),
    "Human3.6M complex": _h36m(lambda clip: clip + 0j, nonsense=True),
    "Human3.6M text": _h36m(lambda clip: np.full(clip.shape, "x"), nonsense=True),
    "Human3.6M bool": _h36m(lambda clip: clip > 0, nonsense=True),
}

FIELDS = {"motion": Field(draw, CORPUS)}
