"""One checkpoint is one folder: whole tensors in safetensors, and state.json, written last, with a hash of each file.

state.json holds a hash of itself too. A folder without a valid one does not exist for the reader. Nothing is unpickled.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NotRequired

from pydantic import FiniteFloat, NonNegativeInt
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from typing_extensions import TypedDict

from aign.errors import UserError
from aign.storage.store import Store
from aign.stored import read_json
from aign.training.engine import EngineState
from aign.training.loop import Progress

FORMAT = 2
STATE_FILE = "state.json"
ANOTHER_STEP = "use another step"
PLAYERS = {"generator", "discriminators"}
NOT_OF_OPTIMIZERS = ("param/", "buffer/", "ema/")
FOLDER_NAME = re.compile(r"step_(\d{7,})")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a run is continued from."""

    progress: Progress
    engines: dict[str, EngineState]
    """By player: ``generator`` and, where there are any, ``discriminators``."""
    renderer: dict[str, Tensor]
    """The renderer's buffers (a shape basis, say): data, not parameters, but needed to render."""

    @property
    def folder_name(self) -> str:
        return folder_name(self.progress.step)


def folder_name(step: int) -> str:
    return f"step_{step:07d}"


def write_checkpoint(folder: Path, checkpoint: Checkpoint, about: dict[str, Any]) -> None:
    """Write all tensors, then state.json with their hashes; ``about`` (config, versions, attempt) is kept in it."""
    folder.mkdir(parents=True)
    files = {f"{name}.safetensors": state.tensors for name, state in checkpoint.engines.items()}
    files["renderer.safetensors"] = checkpoint.renderer
    for name, tensors in files.items():
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / name)
    state = {
        "format": FORMAT,
        "progress": asdict(checkpoint.progress),
        "engines": {name: engine.meta for name, engine in checkpoint.engines.items()},
        "files": {name: sha256(folder / name) for name in files},
        **about,
    }
    state = json.loads(json.dumps(state))  # hashed as it will be read
    (folder / STATE_FILE).write_text(json.dumps(state | {"sha256": _own_hash(state)}, indent=1))


class OtherFormat(UserError):
    """A checkpoint of another version of this program: sound, perhaps, but not to be read, nor to be passed over."""


class _Progress(TypedDict):
    step: NonNegativeInt
    clock: NonNegativeInt
    stage: NonNegativeInt
    stage_clock: NonNegativeInt
    generator_updates: NonNegativeInt
    unlogged: NotRequired[dict[str, FiniteFloat]]
    unlogged_steps: NotRequired[NonNegativeInt]


class _Engine(TypedDict):
    updates: dict[str, NonNegativeInt]


class State(TypedDict):
    """state.json, as far as it is needed to read the checkpoint."""

    progress: _Progress
    engines: dict[str, _Engine]
    files: dict[str, str]
    objective: NotRequired[float | None]


def read_checkpoint(folder: Path, address: object = None) -> Checkpoint:
    """Read a local folder, a copy of ``address`` if that is given.

    Raises UserError if a file is missing, truncated or not what state.json says, OtherFormat if it is of another
    version.
    """
    address = address or folder
    try:
        state = parse_state((folder / STATE_FILE).read_bytes(), f"{address}/{STATE_FILE}")
        if contradiction := _contradiction(state):
            raise UserError(address, contradiction, ANOTHER_STEP)
        for name, expected in state["files"].items():
            if sha256(folder / name) != expected:
                reason = "does not have the contents that state.json recorded"
                raise UserError(f"{address}/{name}", reason, ANOTHER_STEP)
        engines = {name: load_file(folder / f"{name}.safetensors") for name in state["engines"]}
        for name, tensors in engines.items():
            if missing := _learnt(tensors) - state["engines"][name]["updates"].keys():
                raise UserError(address, f"does not say how often {min(missing)} was updated", ANOTHER_STEP)
        return Checkpoint(
            progress=Progress(**state["progress"]),
            engines={name: EngineState(tensors, dict(state["engines"][name])) for name, tensors in engines.items()},
            renderer=load_file(folder / "renderer.safetensors"),
        )
    except FileNotFoundError as error:
        raise UserError(address, f"has no {Path(error.filename).name}", ANOTHER_STEP) from None
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(address, f"not a whole checkpoint ({error})", ANOTHER_STEP) from None


def _contradiction(state: State) -> str | None:
    """In what state.json says that no run could go on from it, whoever wrote it."""
    progress, players, files = state["progress"], state["engines"].keys(), state["files"].keys()
    if strange := progress.keys() - _Progress.__annotations__.keys():
        return f"says {', '.join(strange)} of how far it is"
    if not progress["step"] <= progress["clock"] <= 2 * progress["step"] or progress["stage_clock"] > progress["clock"]:
        return f"is of an impossible moment ({progress})"
    if "generator" not in players or not players <= PLAYERS:
        return f"has states of {', '.join(players) or 'nothing'}"
    if files != {f"{part}.safetensors" for part in (*players, "renderer")}:
        return f"has hashes of {', '.join(files) or 'no file'} only"
    return None


def _learnt(tensors: dict[str, Tensor]) -> set[str]:
    """The parameters that an optimizer keeps something of."""
    return {path.split("/", 1)[-1] for path in tensors if not path.startswith(NOT_OF_OPTIMIZERS)}


def parse_state(content: bytes, where: object) -> State:
    """state.json as it was written. Raises UserError if it is not, OtherFormat if another version wrote it."""
    hashed = read_json(content, where, dict[str, Any], ANOTHER_STEP)
    if hashed.pop("sha256", None) != _own_hash(hashed):
        raise UserError(where, "does not have the hash that it says", ANOTHER_STEP)
    if hashed.get("format") != FORMAT:
        reason = f"has format {hashed.get('format')!r}, and this version of aign reads format {FORMAT}"
        raise OtherFormat(where, reason, "use the version that wrote it, or another --name")
    return read_json(json.dumps(hashed), where, State, ANOTHER_STEP)


def _own_hash(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def checkpoint_steps(run: Store) -> list[int]:
    """Steps of the committed checkpoints of a run, newest first."""
    names = (run / "checkpoints").names()
    steps = [int(match[1]) for name in names if (match := FOLDER_NAME.fullmatch(name))]
    return [step for step in sorted(steps, reverse=True) if folder_name(step) in names and has_checkpoint(run, step)]


def has_checkpoint(run: Store, step: int) -> bool:
    """Whether the checkpoint of a step is committed."""
    return run.exists(_state_path(step))


def valid_checkpoints(
    run: Store, scratch: Path, say: Callable[[str], None] = print, num_stages: int | None = None
) -> Iterator[Checkpoint]:
    """Checkpoints of a run that are whole, newest first; says which are not. Raises OtherFormat.

    One that is past the last of ``num_stages`` is of no run with such stages.
    """
    for step in checkpoint_steps(run):
        try:
            checkpoint = fetch_checkpoint(run, step, scratch)
            if num_stages is not None and checkpoint.progress.stage > num_stages:
                reason = f"is in stage {checkpoint.progress.stage} of {num_stages}"
                raise UserError(_address(run, step), reason, ANOTHER_STEP)
        except OtherFormat:
            raise
        except UserError as damage:
            say(f"skipped a damaged checkpoint: {damage}")
        except FileNotFoundError:  # a run that goes on has replaced it by a newer one
            continue
        else:
            yield checkpoint


def fetch_checkpoint(run: Store, step: int, scratch: Path) -> Checkpoint:
    """Download and read the checkpoint of a step. Raises UserError if it is not whole, or of another step."""
    folder = scratch / folder_name(step)
    run.download(f"checkpoints/{folder_name(step)}", folder)
    checkpoint = read_checkpoint(folder, _address(run, step))
    if checkpoint.progress.step != step:
        raise UserError(_address(run, step), f"is not of its step but of {checkpoint.progress.step}", ANOTHER_STEP)
    return checkpoint


def newest_progress(run: Store) -> Progress:
    """How far the newest checkpoint of a run has come whose state.json is whole."""
    for step in checkpoint_steps(run):
        if (state := _read_state(run, step)) is not None:
            return Progress(**state["progress"])
    return Progress()


def _address(run: Store, step: int) -> str:
    return f"{run.uri}/checkpoints/{folder_name(step)}"


def _state_path(step: int) -> str:
    return f"checkpoints/{folder_name(step)}/{STATE_FILE}"


def _read_state(run: Store, step: int) -> State | None:
    """None for one that is damaged, or has gone."""
    try:
        return parse_state(run.read(_state_path(step)), f"{run.uri}/{_state_path(step)}")
    except (UserError, FileNotFoundError):
        return None


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_objective(run: Store, step: int) -> float | None:
    """What a committed checkpoint's evaluation measured; None without one, or if its state.json is damaged."""
    state = _read_state(run, step)
    return state.get("objective") if state else None
