"""Stored runs with damage: config.json, checkpoints, metrics and attempts, exports, sweeps."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import mutations, world
from tests.fuzz.case import Call, Field, Lay, command, function
from tests.fuzz.keypoints import as_csv, people

RUN = "runs/pose"
NEWEST, BEFORE = "checkpoints/step_0000004", "checkpoints/step_0000002"
READERS = ("evaluate", "predict", "predict", "report", "resume", "resume", "from", "load")


def call(verb: str, folder: Path, **about: Any) -> Call:
    """A command on the run that lies in the folder."""
    match verb:
        case "evaluate":
            return command("evaluate", RUN, **about)
        case "predict":
            (folder / "k.csv").write_text(as_csv(people()))
            return command("predict", RUN, "k.csv", results=("predictions",), **about)
        case "report":
            return command("report", RUN, results=("report.html",), **about)
        case "report all":
            return command("report", "runs", results=("report.html",), **about)
        case "from":
            return command("train", *world.POSE, "--from", RUN, "--name", "new", "--dry-run", **about)
        case "load":
            from aign.trained import load

            return function(load, folder / RUN / "export", **about)
    traces = tuple(f"{RUN}/{part}" for part in ("attempts", "metrics", "config.json", "tensorboard", "pictures"))
    return command("train", *world.POSE, "--name", "pose", traces=traces, results=(RUN,), **about)


def unfinished(folder: Path) -> Path:
    """The run as it was before its last step: one checkpoint, no export."""
    run = world.copy("pose", folder)
    shutil.rmtree(run / "export")
    shutil.rmtree(run / NEWEST)
    return run


def lay(verb: str, folder: Path) -> Path:
    return unfinished(folder) if verb == "resume" else world.copy("pose", folder)


# --- config.json ------------------------------------------------------------------------------------------------------


def draw_config(random: Random, folder: Path) -> Call:
    verb = random.choice(READERS)
    run = lay(verb, folder)
    path = run / ("export/config.json" if verb == "load" else "config.json")
    if random.random() < 0.2:
        path.write_bytes(mutations.damaged(random, path.read_bytes()))
    else:
        path.write_text(mutations.as_json(mutations.bent(random, json.loads(path.read_bytes()))))
    return call(verb, folder)


def _config(verb: str, content: Any, **about: Any) -> Lay:
    """What config.json holds instead, or what is done to it."""

    def with_config(folder: Path) -> Call:
        run = lay(verb.removesuffix(" all"), folder)
        path = run / ("export/config.json" if verb == "load" else "config.json")
        _rewrite(path, content)
        if verb == "report all":
            shutil.move(run, run.with_name("damaged"))
            world.copy("pose", folder)
        return call(verb, folder, **about)

    return with_config


def _rewrite(path: Path, content: Any) -> None:
    if callable(content):
        tree = json.loads(path.read_bytes())
        content = content(tree) or tree
    path.write_bytes(content if isinstance(content, bytes) else mutations.as_json(content).encode())


def _without(*fields: str) -> Callable[[dict], None]:
    def change(tree: dict) -> None:
        *outer, last = fields
        for field in outer:
            tree = tree[field]
        del tree[last]

    return change


def _with(value: Any, *fields: str) -> Callable[[dict], None]:
    def change(tree: dict) -> None:
        *outer, last = fields
        for field in outer:
            tree = tree[field]
        tree[last] = value

    return change


CONFIG: dict[str, Lay] = {
    **{f"{verb} a whole run": _config(verb, lambda tree: None, sound=True) for verb in READERS},
    **{
        f"{verb}: {name}": _config(verb, content, nonsense=verb != "resume")
        for verb in ("evaluate", "report", "resume", "from", "load")
        for name, content in {"null": None, "a list": [], "empty": b""}.items()
        if not (verb == "resume" and name == "a list")
    },
    "deep": _config("predict", mutations.DEEP_MARK, nonsense=True),
    "not UTF-8": _config("predict", b"\xff\xfe\0{", nonsense=True),
    "a foreign folder beside a run": _config("report all", {"name": "x"}, sound=True),
    "no facts": _config("predict", _without("facts"), nonsense=True),
    "half a skeleton": _config("predict", _without("facts", "skeleton", "parents"), nonsense=True),
    "options are a list": _config("predict", _with([1], "options"), nonsense=True),
    "training is a text": _config("predict", _with("x", "training"), nonsense=True),
    "a choice that is none": _config("predict", _with("quaternion", "options", "rotation"), nonsense=True),
    "data that is none": _config("predict", _with("CMU", "options", "data"), nonsense=True),
    "a width of text": _config("predict", _with("16", "options", "width"), nonsense=True),
    "an unknown option": _config("predict", _with(1, "options", "nope"), nonsense=True),
    "an infinite rate": _config("predict", _with(float("inf"), "training", "generator_lr"), nonsense=True),
    "another task": _config("predict", _with("nope", "task"), nonsense=True),
    "report without placement": _config("report", _without("placement")),
    "report without versions": _config("report", _without("versions")),
    "an export without progress": _config("load", _without("progress"), nonsense=True),
    "an export whose facts are null": _config("load", _with(None, "facts"), nonsense=True),
    "an export whose run is a list": _config("load", _with([], "run"), nonsense=True),
}

# --- checkpoints ------------------------------------------------------------------------------------------------------


def draw_checkpoint(random: Random, folder: Path) -> Call:
    verb = random.choice(("evaluate", "predict", "predict", "resume", "resume", "from", "load"))
    run = lay(verb, folder)
    checkpoint = run / ("export" if verb == "load" else BEFORE if verb == "resume" else NEWEST)
    if verb != "load" and random.random() < 0.6:
        rehashed(checkpoint, mutations.bent(random, _state(checkpoint)))
        return call(verb, folder)
    path = random.choice(sorted(checkpoint.iterdir()))
    if random.random() < 0.15:
        path.unlink()
        random.choice((lambda: path.mkdir(), lambda: path.symlink_to("nowhere"), lambda: None))()
    else:
        path.write_bytes(_damaged_weights(random, path.read_bytes()))
    if verb != "load" and random.random() < 0.5:  # as somebody writes it who wants to be believed
        _believed(checkpoint)
    return call(verb, folder)


def _damaged_weights(random: Random, data: bytes) -> bytes:
    if len(data) > 8 and random.random() < 0.4:  # safetensors: the length of a head of JSON, the head, the numbers
        length = int.from_bytes(data[:8], "little")
        if length < len(data):
            head = mutations.damaged(random, data[8 : 8 + length])
            return len(head).to_bytes(8, "little") + head + data[8 + length :]
    return mutations.damaged(random, data)


def _state(checkpoint: Path) -> dict:
    state = json.loads((checkpoint / "state.json").read_bytes())
    state.pop("sha256", None)
    return state


def rehashed(checkpoint: Path, state: Any) -> None:
    """Write state.json with the hash that it would have, whatever it says."""
    text = mutations.as_json(state)
    if isinstance(state, dict) and mutations.DEEP not in text:
        state = json.loads(text)
        state["sha256"] = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
        text = json.dumps(state)
    (checkpoint / "state.json").write_text(text)


def _believed(checkpoint: Path) -> None:
    """Make the hashes of the files right."""
    try:
        state = _state(checkpoint)
    except (ValueError, AttributeError, OSError):
        return
    files = {path.name: path for path in checkpoint.iterdir() if path.is_file() and path.name != "state.json"}
    state["files"] = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    rehashed(checkpoint, state)


def _resume(change: Callable[[dict], Any], **about: Any) -> Lay:
    """The only checkpoint of a run that goes on, with a state that says something else and a hash that is right."""

    def resume(folder: Path) -> Call:
        checkpoint = unfinished(folder) / BEFORE
        state = _state(checkpoint)
        changed = change(state)
        rehashed(checkpoint, state if changed is None else changed)
        return call("resume", folder, **about)

    return resume


def _weights(verb: str, change: Callable[[Path], Any], believed: bool = True, **about: Any) -> Lay:
    """The weights of the newest checkpoint, or of the export, with a hash that is right."""

    def with_weights(folder: Path) -> Call:
        run = lay(verb, folder)
        checkpoint = run / ("export" if verb == "load" else BEFORE if verb == "resume" else NEWEST)
        change(checkpoint / "generator.safetensors")
        if believed and verb != "load":
            _believed(checkpoint)
        return call(verb, folder, **about)

    return with_weights


def _all_nan(path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_file({name: tensor * float("nan") for name, tensor in load_file(path).items()}, path)


def _of_another_task(path: Path) -> None:
    other = world.copy("digits", path.parent / "other")
    source = other / NEWEST / path.name if "checkpoints" in path.parts else other / "export" / path.name
    path.write_bytes(source.read_bytes())
    shutil.rmtree(path.parent / "other")


def _wider(path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    save_file(
        {name: torch.cat([tensor, tensor]) if tensor.ndim else tensor for name, tensor in load_file(path).items()}, path
    )


CHECKPOINT: dict[str, Lay] = {
    **{f"step is {value!r}": _resume(_with(value, "progress", "step")) for value in ("x", 2.5, 1e20, None, -3, True)},
    "stage 99": _resume(_with(99, "progress", "stage")),
    "stage -1": _resume(_with(-1, "progress", "stage")),
    "an unknown field of progress": _resume(_with(1, "progress", "nope")),
    "no updates": _resume(lambda state: _with({}, "engines", "generator", "updates")(state)),
    "files are null": _resume(_with(None, "files")),
    "files above the folder": _resume(_with({"../../config.json": "0"}, "files")),
    "engines of another name": _resume(_with({"../x": {}}, "engines")),
    "no engines": _resume(_with({}, "engines")),
    "format 99": _resume(_with(99, "format")),
    "no format": _resume(_without("format")),
    "a state that is null": _resume(lambda state: "null"),
    "a state that is deep": _resume(_with(mutations.DEEP_MARK, "deep")),
    "resume with weights of nan": _weights("resume", _all_nan),
    "predict with weights of nan": _weights("predict", _all_nan, nonsense=True),
    "load weights of nan": _weights("load", _all_nan, nonsense=True),
    "predict with weights of another task": _weights("predict", _of_another_task, nonsense=True),
    "load weights of another task": _weights("load", _of_another_task, nonsense=True),
    "resume with weights of another task": _weights("resume", _of_another_task),
    "from weights of another task": _weights("from", _of_another_task, nonsense=True),
    "predict with weights of another width": _weights("predict", _wider, nonsense=True),
    "load weights of another width": _weights("load", _wider, nonsense=True),
    "weights that are empty": _weights("predict", lambda path: path.write_bytes(b"")),
    "weights with another hash": _weights("predict", lambda path: path.write_bytes(b"x"), believed=False, sound=True),
    "load empty weights": _weights("load", lambda path: path.write_bytes(b""), nonsense=True),
}

# --- metrics, attempts, exports, seen by report and by the next attempt -----------------------------------------------

ODD_LINES = (
    b"null\n",
    b"[]\n",
    b"{}\n",
    b'{"step": "x"}\n',
    b'{"step": 1, "time": null}\n',
    b"{",
    b"\xff\n",
    b"\0" * 64,
)
ODD_RECORDS = (b"", b"null", b"[]", b"{}", b"{", b"\xff", b'{"began": null}', b'{"began": "x", "workers": 2}')


def draw_metrics(random: Random, folder: Path) -> Call:
    verb = random.choice(("report", "report", "resume"))
    run = lay(verb, folder)
    kind = random.choice(("metrics", "metrics", "attempts", "pictures"))
    path = random.choice(sorted((run / kind).iterdir()))
    if random.random() < 0.3:
        path.write_bytes(mutations.damaged(random, path.read_bytes()))
    elif random.random() < 0.3:
        path.rename(path.with_name(random.choice(("abc.json", "-1.json", "x.jsonl", "1e9.jsonl", "step_x.png", "²"))))
    elif kind != "pictures":
        lines = [mutations.bent(random, json.loads(line)) for line in path.read_bytes().splitlines()[:2]]
        path.write_text("\n".join(map(mutations.as_json, lines)))
    return call(verb, folder)


def _file(verb: str, name: str, content: bytes, **about: Any) -> Lay:
    def with_file(folder: Path) -> Call:
        run = lay(verb.removesuffix(" all"), folder)
        (run / name).parent.mkdir(exist_ok=True, parents=True)
        (run / name).write_bytes(content)
        if verb == "report all":
            shutil.move(run, run.with_name("damaged"))
            world.copy("pose", folder)
        return call(verb, folder, **about)

    return with_file


METRICS: dict[str, Lay] = {
    **{f"a line: {line[:20]!r}": _file("report", "metrics/001-000099.jsonl", line) for line in ODD_LINES},
    **{f"an attempt: {record[:20]!r}": _file("report", "attempts/001.json", record) for record in ODD_RECORDS},
    "an empty attempt beside a run": _file("report all", "attempts/001.json", b"", sound=True),
    "a cut line beside a run": _file("report all", "metrics/001-000099.jsonl", b'{"st', sound=True),
    "a stray attempt": _file("report", "attempts/abc.json", b"{}", sound=True),
    "resume with a stray attempt": _file("resume", "attempts/abc.json", b"{}", sound=True),
    "resume after an empty attempt": _file("resume", "attempts/001.json", b"", sound=True),
    "resume after an attempt of nothing": _file("resume", "attempts/001.json", b"null", sound=True),
    "a picture that is none": _file("report", "pictures/step_0000004.png", b"hello"),
    "a stray picture": _file("report", "pictures/last.png", b"hello", sound=True),
    "an empty export": _file("report", "export/config.json", b""),
    "a cut export": _file("report", "export/config.json", b'{"run": {'),
    "resume with an empty export": _file("resume", "export/config.json", b""),
    "resume with a cut export": _file("resume", "export/config.json", b'{"run": {'),
}

# --- sweeps -----------------------------------------------------------------------------------------------------------


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
        _rewrite(lay_sweep(folder) / name, content)
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
    "a trial without a point": _sweep("trials/000/trial.json", _without("point")),
    "a trial's objective is text": _sweep("trials/000/trial.json", _with("x", "objective")),
    "a stray trial": _sweep("trials/000/trial.json", lambda tree: _with(7.5, "trial")(tree)),
}

FIELDS = {
    "config": Field(draw_config, CONFIG),
    "checkpoints": Field(draw_checkpoint, CHECKPOINT),
    "metrics": Field(draw_metrics, METRICS),
    "sweeps": Field(draw_sweep, SWEEPS),
}
