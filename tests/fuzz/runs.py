"""Stored runs with damage: config.json, checkpoints, metrics and attempts, exports, sweeps."""

import dataclasses
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
        rewrite(path, content)
        if verb == "report all":
            shutil.move(run, run.with_name("damaged"))
            world.copy("pose", folder)
        return call(verb, folder, **about)

    return with_config


def rewrite(path: Path, content: Any) -> None:
    if callable(content):
        tree = json.loads(path.read_bytes())
        content = content(tree) or tree
    path.write_bytes(content if isinstance(content, bytes) else mutations.as_json(content).encode())


def without(*fields: str) -> Callable[[dict], None]:
    def change(tree: dict) -> None:
        *outer, last = fields
        for field in outer:
            tree = tree[field]
        del tree[last]

    return change


def put(value: Any, *fields: str) -> Callable[[dict], None]:
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
    "no metadata": _config("predict", without("metadata"), nonsense=True),
    "half a skeleton": _config("predict", without("metadata", "skeleton", "parents"), nonsense=True),
    "options are a list": _config("predict", put([1], "options"), nonsense=True),
    "training is a text": _config("predict", put("x", "training"), nonsense=True),
    "a choice that is none": _config("predict", put("quaternion", "options", "rotation"), nonsense=True),
    "data that is none": _config("predict", put("CMU", "options", "data"), nonsense=True),
    "a width of text": _config("predict", put("16", "options", "width"), nonsense=True),
    "an unknown option": _config("predict", put(1, "options", "nope"), nonsense=True),
    "an infinite rate": _config("predict", put(float("inf"), "training", "generator_lr"), nonsense=True),
    "another task": _config("predict", put("nope", "task"), nonsense=True),
    "report without placement": _config("report", without("placement")),
    "report without versions": _config("report", without("versions")),
    "an export without progress": _config("load", without("progress"), nonsense=True),
    "an export whose metadata is null": _config("load", put(None, "metadata"), nonsense=True),
    "an export whose run is a list": _config("load", put([], "run"), nonsense=True),
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


def _passes_over(change: Callable[[dict], Any]) -> Lay:
    """A run whose only checkpoint is of such a state begins anew."""

    def with_state(folder: Path) -> Call:
        goes_on = _says("resume", change, sound=True)(folder)

        def run() -> None:
            goes_on.run()
            assert json.loads((folder / RUN / "attempts/002.json").read_bytes())["start_step"] == 0

        return dataclasses.replace(goes_on, run=run)

    return with_state


def _says(verb: str, change: Callable[[dict], Any], **about: Any) -> Lay:
    """The only checkpoint of a run, with a state that says something else and a hash that is right."""

    def with_state(folder: Path) -> Call:
        checkpoint = unfinished(folder) / BEFORE
        state = _state(checkpoint)
        changed = change(state)
        rehashed(checkpoint, state if changed is None else changed)
        return call(verb, folder, **about)

    return with_state


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


IMPOSSIBLE: dict[str, Callable[[dict], Any]] = {
    **{f"step is {value!r}": put(value, "progress", "step") for value in ("x", 2.5, 1e20, None, -3, True)},
    "stage 99": put(99, "progress", "stage"),
    "stage -1": put(-1, "progress", "stage"),
    "an unknown field of progress": put(1, "progress", "nope"),
    "no updates": put({}, "engines", "generator", "updates"),
    "files are null": put(None, "files"),
    "files above the folder": put({"../../config.json": "0"}, "files"),
    "engines of another name": put({"../x": {}}, "engines"),
    "no engines": put({}, "engines"),
    "a state that is null": lambda state: "null",
    "a state that is deep": put(mutations.DEEP_MARK, "deep"),
}
"""States that no run can be in, or that are none."""

CHECKPOINT: dict[str, Lay] = {
    **{f"resume, {what}": _passes_over(change) for what, change in IMPOSSIBLE.items()},
    # --from takes the weights and begins at the first stage, whichever the checkpoint was in
    **{f"from, {what}": _says("from", change, nonsense=what != "stage 99") for what, change in IMPOSSIBLE.items()},
    # another version's is sound, perhaps: to pass over it would be to train again, and to remove it in time
    **{
        f"{verb}, {what}": _says(verb, change, nonsense=True)
        for verb in ("resume", "from")
        for what, change in {"format 99": put(99, "format"), "no format": without("format")}.items()
    },
    "resume with weights of nan": _weights("resume", _all_nan),
    "predict with weights of nan": _weights("predict", _all_nan, nonsense=True),
    "load weights of nan": _weights("load", _all_nan, nonsense=True),
    # the checkpoint before it is whole
    "predict with weights of another task": _weights("predict", _of_another_task, sound=True),
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

FIELDS = {
    "config": Field(draw_config, CONFIG),
    "checkpoints": Field(draw_checkpoint, CHECKPOINT),
    "metrics": Field(draw_metrics, METRICS),
}
