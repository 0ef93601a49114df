"""Stored sweeps with damage: sweep.json and trial.json, as a report and the same command find them."""

import json
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import mutations, world
from tests.fuzz.case import Call, Field, Lay, command
from tests.fuzz.runs import put, rewrite, without


def lay_sweep(folder: Path) -> Path:
    """A sweep of two trials, one over."""
    from ray_jobs.sweeps.plan import plan

    sweep = plan(list(world.SWEEP))
    place = folder / "runs" / "sweep"
    point = {"generator_lr": 0, "generator_lr.0.0": 0.001}
    stretch = {"run": "trials/000/0", "values": {"generator_lr": "0.001"}}
    metrics = {"torso_aligned_mm": 99.0, "mpjpe_mm": 120.0}
    over = {"status": "finished", "path": [stretch], "objective": 99.0, "step": 4, "clock": 4, "metrics": metrics}
    records = ({"trial": 0, "point": point, **over, "history": [[4, 99.0]]}, {"trial": 1, "point": point})
    for i, record in enumerate(records):
        (place / "trials" / f"{i:03d}").mkdir(parents=True)
        (place / "trials" / f"{i:03d}" / "trial.json").write_text(json.dumps(record))
    (place / "sweep.json").write_text(json.dumps(sweep.to_json()))
    return place


def draw_sweep(random: Random, folder: Path) -> Call:
    place = lay_sweep(folder)
    path = place / random.choice(("sweep.json", "sweep.json", "trials/000/trial.json"))
    if random.random() < 0.25:
        path.write_bytes(mutations.damaged(random, path.read_bytes()))
    else:
        path.write_text(mutations.as_json(mutations.bent(random, json.loads(path.read_bytes()))))
    if random.random() < 0.4:
        return command("sweep", *world.SWEEP, "--dry-run")
    return command("report", "runs/sweep", results=("report.html",))


def _sweep(name: str, content: Any, *words: str, **about: Any) -> Lay:
    def with_sweep(folder: Path) -> Call:
        rewrite(lay_sweep(folder) / name, content)
        return command(*(words or ("report", "runs/sweep")), results=("report.html",), **about)

    return with_sweep


GO_ON = ("sweep", *world.SWEEP, "--dry-run")
SWEEPS: dict[str, Lay] = {
    "whole": _sweep("sweep.json", lambda tree: None, sound=True),
    "goes on": _sweep("sweep.json", lambda tree: None, *GO_ON, sound=True),
    "null": _sweep("sweep.json", None, nonsense=True),
    "goes on with null": _sweep("sweep.json", None, *GO_ON, nonsense=True),
    "goes on with a cut file": _sweep("sweep.json", b'{"sweep": {', *GO_ON, nonsense=True),
    "deep": _sweep("sweep.json", mutations.DEEP_MARK, nonsense=True),
    "a trial that is null": _sweep("trials/000/trial.json", None),
    "a trial that is deep": _sweep("trials/000/trial.json", mutations.DEEP_MARK),
    "a trial without a point": _sweep("trials/000/trial.json", without("point")),
    "a trial's objective is text": _sweep("trials/000/trial.json", put("x", "objective")),
    "a stray trial": _sweep("trials/000/trial.json", lambda tree: put(7.5, "trial")(tree)),
}

FIELDS = {"sweeps": Field(draw_sweep, SWEEPS)}
