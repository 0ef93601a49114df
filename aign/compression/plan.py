"""How a network is to be compressed: options and what they come to, in one value that goes to config.json and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Le

from aign.compression.rounds import Rounds
from aign.compression.starts import Start
from aign.options import Channels, CheckedOptions, Fraction, LearningRate, Weight, check_effect

Method = Literal["projection", "projection-only", "random", "magnitude", "activation", "factorisation", "scratch"]
PROJECTS = ("projection", "projection-only")
STARTS: Mapping[str, Start] = {"random": "random", "magnitude": "magnitude", "activation": "activation"}
"""Methods that take the first projections as they are."""


@dataclass(frozen=True, kw_only=True)
class Schedule(CheckedOptions):
    """Options of compression, whatever the network."""

    method: Method = "projection"
    """projection: cascaded projection, then relaxation and fine-tuning; projection-only: no more than that. What it is
    compared with: random projections, channels chosen by the magnitude of their kernels or by their activation, and a
    factorisation, all relaxed and fine-tuned as long; scratch: the thin network trained as the first one was."""
    start: Start = "best"
    """What learnt projections begin with: the channels that contribute most to the next layers, those of largest
    activation or kernel magnitude, for each layer the best of these, principal components, or random columns."""
    gamma: Weight = 1.0
    """Weight of the task's own objective beside the reconstruction of features (gamma of Eq. 10)."""
    projection_share: Annotated[float, Ge(0), Le(0.99)] = 0.3
    """Part of the steps that projections are learnt in."""
    relaxation_share: Fraction = 0.3
    """Part of the other steps in which thin kernels learn the teacher's features alone; the rest is fine-tuning."""
    projection_lr: LearningRate = 1e-2
    """Adam's learning rate of projections."""
    rounds: Rounds = "auto"
    """In how many rounds layers are projected, each second one in the second; auto: two where a residual block has more
    than one such layer (section 3.6)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        projects = self.method in PROJECTS
        for name, has_effect in (
            ("start", projects),
            ("projection_share", self.method == "projection"),
            ("relaxation_share", self.method not in ("projection-only", "scratch")),
            ("projection_lr", projects),
            ("rounds", projects),
            ("gamma", self.method != "scratch"),
        ):
            check_effect(self, name, has_effect, f"with method {self.method!r}")


@dataclass(frozen=True, kw_only=True)
class Compression(CheckedOptions):
    """A network to compress, and what is to be left of it."""

    source: str
    """RUN@STEP, whose network it is."""
    ranks: Mapping[str, Channels]
    """Channels that are left, by layer."""
    schedule: Schedule
    shapes: Mapping[str, tuple[Annotated[int, Ge(0), Le(2**31)], ...]] = field(default_factory=dict)
    """Sizes of the source's tensors, if it has been compressed itself; empty: those that its options give."""
    before: Mapping[str, Channels] = field(default_factory=dict)
    """Ranks that earlier rounds have come to."""
    part: Literal["projection", "thin"] = "thin"
    """What is learnt in this run: projections, for the ``ranks`` that are not there ``before``, or thin kernels."""
    begins_with: str | None = None
    """RUN of the round before, whose export this one begins with; None: with the source."""
    rounds: tuple[tuple[str, ...], ...] = ()
    """Layers of each round of projection that is to come before this part."""
    projection_steps: Annotated[int, Ge(0), Le(10**9)] = 0
    """Of all of these together."""
