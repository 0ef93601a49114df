"""One checkpoint is one folder: whole tensors in safetensors, and state.json, written last, with a hash of each file.

state.json holds a hash of itself too. A folder without a valid one does not exist for the reader. Nothing is unpickled.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from aign.errors import UserError
from aign.training.engine import EngineState
from aign.training.loop import Progress
from ray_jobs.storage import Store

FORMAT = 2
STATE_FILE = "state.json"
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


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a local folder. Raises UserError if a file is missing, truncated or not what state.json says."""
    try:
        state = parse_state((folder / STATE_FILE).read_bytes())
        for name, expected in state["files"].items():
            if sha256(folder / name) != expected:
                raise UserError(
                    folder / name, "does not have the contents that state.json recorded", "use another step"
                )
        return Checkpoint(
            progress=Progress(**state["progress"]),
            engines={
                name: EngineState(load_file(folder / f"{name}.safetensors"), meta)
                for name, meta in state["engines"].items()
            },
            renderer=load_file(folder / "renderer.safetensors"),
        )
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise UserError(folder, f"not a whole checkpoint ({error})", "use another step") from None


def parse_state(text: bytes) -> dict[str, Any]:
    """state.json as it was written. Raises ValueError if it is not."""
    state = json.loads(text)
    if not isinstance(state, dict) or state.pop("sha256", None) != _own_hash(state):
        raise ValueError(f"{STATE_FILE} does not have the hash that it says")
    return state


def _own_hash(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def checkpoint_steps(run: Store) -> list[int]:
    """Steps of the committed checkpoints of a run, newest first."""
    matches = [FOLDER_NAME.fullmatch(name) for name in (run / "checkpoints").names()]
    steps = sorted((int(match[1]) for match in matches if match), reverse=True)
    return [step for step in steps if run.exists(f"checkpoints/{folder_name(step)}/{STATE_FILE}")]


def valid_checkpoints(run: Store, scratch: Path, say: Any = print) -> Iterator[Checkpoint]:
    """Checkpoints of a run that are whole, newest first; says which are not."""
    for step in checkpoint_steps(run):
        try:
            yield fetch_checkpoint(run, step, scratch)
        except UserError as damage:
            say(f"skipped a damaged checkpoint: {damage}")


def fetch_checkpoint(run: Store, step: int, scratch: Path) -> Checkpoint:
    """Download and read the checkpoint of a step. Raises UserError if it is not whole."""
    folder = scratch / folder_name(step)
    run.download(f"checkpoints/{folder_name(step)}", folder)
    return read_checkpoint(folder)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_objective(run: Store, step: int) -> float | None:
    """What a committed checkpoint's evaluation measured; None without one, or if its state.json is damaged."""
    try:
        return parse_state(run.read(f"checkpoints/{folder_name(step)}/{STATE_FILE}"))["objective"]
    except (ValueError, KeyError, TypeError):
        return None
