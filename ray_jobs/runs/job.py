"""A training job: what runs (RunConfig), and where and how it runs."""

import dataclasses
import platform
import re
import reprlib
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from tyro.constructors import PrimitiveConstructorSpec

from aign.device import DeviceOption
from aign.errors import UserError
from aign.options import CheckedOptions
from aign.storage.store import Store
from aign.training.acceleration import Acceleration
from aign.training.run_config import RunConfig

REPORTED_PACKAGES = ("aign", "torch", "deepspeed", "ray", "numpy")
WORKERS_ONLY = (
    "memory_per_worker",
    "machines",
    "zero_stage",
    "offload_optimizer",
    "max_failures",
    "collective_timeout_s",
)
GIB = 2**30


LONGEST_NAME = 100
"""Bytes: names of folders may have 255, and a run's is part of others'."""


@dataclass(frozen=True)
class Workers:
    """How many workers a run has: a number, or a range within which it goes by the machines there are."""

    fewest: int
    most: int

    @classmethod
    def parse(cls, text: str) -> "Workers":
        """From ``4`` or ``1:4``. Raises UserError for anything else."""
        match = re.fullmatch(r"(\d+)(?::(\d+))?", text)
        if not match:
            raise UserError(f"workers = {text}", "neither a number nor a range", "give 2, 1:4 or 0")
        fewest, most = int(match[1]), int(match[2] or match[1])
        if match[2] and not 0 < fewest <= most:
            raise UserError(f"workers = {text}", "not a range from one or more to as many or more", "give 1:4, say")
        return cls(fewest, most)

    @property
    def is_range(self) -> bool:
        return self.fewest < self.most

    def __str__(self) -> str:
        return f"{self.fewest}:{self.most}" if self.is_range else str(self.most)

    def __bool__(self) -> bool:
        return self.most > 0

    def for_ray(self) -> int | tuple[int, int]:
        """``num_workers`` of Ray Train's ScalingConfig."""
        return (self.fewest, self.most) if self.is_range else self.most


def _parse_workers(words: Sequence[str]) -> Workers:
    return Workers.parse(words[0])


WORKERS_OPTION = PrimitiveConstructorSpec(
    nargs=1,
    metavar="N|MIN:MAX",
    instance_from_str=_parse_workers,
    is_instance=lambda value: isinstance(value, Workers),
    str_from_instance=lambda workers: [str(workers)],
)


@dataclass(frozen=True, kw_only=True)
class Placement(CheckedOptions):
    """Where a run runs. Beside rounding, none of it changes the run's numbers."""

    storage: str = "runs"
    """Folder that runs are written to: a local path or s3://bucket/prefix."""
    name: str | None = None
    """Name of the run and its folder. A run of that name that is there already goes on. Default: made from task, preset
    and time."""
    workers: Annotated[Workers, WORKERS_OPTION] = Workers(2, 2)
    """Ray Train workers, each with DeepSpeed engines; 1:4: as many of them as there are machines for; 0: everything in
    this process, with plain PyTorch engines."""
    device: DeviceOption = "auto"
    """What networks compute on: cpu, or cuda with one GPU for each worker; auto: cuda if there are as many GPUs as
    workers, else cpu."""
    memory_per_worker: Annotated[float, Ge(0), Le(10**6)] = 0
    """GiB that a machine must have for each worker; 0: not stated. Workers are placed by it, not held to it."""
    machines: Literal["any", "spot", "on-demand"] = "any"
    """Machines of a cluster that workers may run on, by how they were bought: those that have a resource of that name
    (``ray start --resources '{"spot": 1000}'``), of which each worker needs one."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    """What DeepSpeed shards among workers: 0 nothing, 1 optimizer state, 2 and gradients, 3 and weights."""
    offload_optimizer: bool = False
    """Keep the sharded optimizer in the memory of the CPU, to have more of the GPU's. ZeRO stages 1 to 3."""
    activation_checkpointing: bool = False
    """Keep fewer activations for backward and compute them again there: less memory, about a third more time."""
    compile: bool = False
    """Compile networks with torch.compile. Discriminators with a gradient penalty stay as they are: compiled ones have
    no second derivative. Not at ZeRO stage 3."""
    channels_last: bool = False
    """Keep the channels of images side by side, which is quicker for convolutions on GPUs."""
    max_failures: Annotated[int, Ge(0), Le(10**6)] = 3
    """How often a run whose worker died is continued from its newest checkpoint."""
    store_patience: Annotated[float, Ge(0), Le(10**6)] = 300
    """Seconds that a run waits for a store that is away, before its first step and after its last. Then it ends, with
    status 1; what has not arrived waits on the disk of the first worker's machine, and the same command goes on."""
    collective_timeout_s: Annotated[float, Gt(0), Le(10**6)] = 300
    """Seconds after which a worker that does not answer the others is taken to hang, and the run is continued from its
    newest checkpoint. Longer than one worker may wait for its data, or take to read a checkpoint."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name is not None:
            check_name(self.name)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not self.workers and field.name in WORKERS_ONLY and value != field.default:
                raise UserError(f"{field.name} = {value}", "no effect with 0 workers", "give --workers 1 or more")
        if self.offload_optimizer and self.device == "cpu":
            raise UserError("offload_optimizer", "there is no GPU whose memory it could spare", "add --device cuda")

    @property
    def needs(self) -> dict[str, float]:
        """What a machine must have for each worker, as Ray counts it: memory in bytes, and a GPU once it is decided."""
        needs = {"CPU": 1, "GPU": int(self.device == "cuda"), "memory": int(self.memory_per_worker * GIB)}
        if self.machines != "any":
            needs[self.machines] = 1
        return {kind: amount for kind, amount in needs.items() if amount}

    @property
    def acceleration(self) -> Acceleration:
        """How networks are made cheaper to run."""
        return Acceleration(
            compile=self.compile,
            channels_last=self.channels_last,
            activation_checkpointing=self.activation_checkpointing,
        )


def check_name(name: str) -> None:
    """Raises UserError unless a run can have this name: a folder in its storage that --from finds."""
    reason = ""
    if not set(name.split("/")).isdisjoint({"", ".", ".."}):
        reason = "is no folder inside that of --storage"
    elif not name.isprintable() or name != name.strip():
        reason = "has characters that cannot be seen"
    elif len(name.encode()) > LONGEST_NAME:
        reason = f"is longer than {LONGEST_NAME} bytes"
    elif set(name) & set("*?[]"):
        reason = "stands for several names where files are listed"
    elif re.search(r"@\d+$", name):
        reason = "reads as the checkpoint RUN@STEP"
    if reason:
        raise UserError(f"name = {reprlib.repr(name)}", reason, "use letters, digits and . _ -")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run at one place."""

    run: RunConfig
    placement: Placement
    name: str
    until: int | None = None
    """Step at which this part of the run saves and ends; None: at its end."""

    @property
    def folder(self) -> Store:
        """RUN: where everything of the run is written."""
        return Store(self.placement.storage) / self.name

    def on(self, device: DeviceOption) -> "Job":
        """The same job on a device."""
        return dataclasses.replace(self, placement=dataclasses.replace(self.placement, device=device))

    def to_json(self) -> dict[str, Any]:
        """What config.json holds: everything that repeats the run, and no secret."""
        return {
            **self.run.to_json(),
            "placement": {**dataclasses.asdict(self.placement), "workers": str(self.placement.workers)},
            "name": self.name,
            "versions": {"python": platform.python_version(), **{name: _version(name) for name in REPORTED_PACKAGES}},
        }


def new_name(what: str) -> str:
    """A name for a run or a submission that has none: what it is and when; no other has it, in the same second too."""
    return f"{what}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"


def _version(package: str) -> str:
    try:
        return version(package)
    except ImportError:
        return "not installed"
