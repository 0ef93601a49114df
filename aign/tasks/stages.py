"""The stages of a run, and presets: named choices of options."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ADVERSARIAL = "adversarial/"
"""Names of adversarial terms begin with it; the name of a discriminator follows."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a run: the data it reads and the weight of each loss term; a term that is not named is off.

    ``labelled`` and ``unlabelled`` name streams of the task that share the batch equally. Terms called
    ``adversarial/NAME`` switch the discriminator NAME on.
    """

    name: str
    share: float
    """Fraction of the run's steps."""
    labelled: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    weights: Mapping[str, float]
    trains: tuple[str, ...] | None = None
    """The parts of the generator that learn, by name; None: all that are not frozen. In this stage, all others keep
    their weights, buffers and optimizer state, and are in evaluation mode."""

    @property
    def discriminators(self) -> tuple[str, ...]:
        """The discriminators that are on."""
        return tuple(term.removeprefix(ADVERSARIAL) for term in self.weights if term.startswith(ADVERSARIAL))


def num_parts(stages: Sequence[Stage]) -> int:
    """Into how many equal parts a batch must divide, so that each stream of each stage gets as many samples."""
    return math.lcm(*(max(1, len(streams)) for stage in stages for streams in (stage.labelled, stage.unlabelled)))


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named choice of options; the paper's baselines are presets, never other scripts."""

    summary: str
    task: Mapping[str, Any] = field(default_factory=dict)
    """Options of the task's Config."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Options of TrainingConfig."""
    paper: float | None = None
    """The selection metric as the paper measured it for this preset; ``compare`` runs the presets that have one."""
