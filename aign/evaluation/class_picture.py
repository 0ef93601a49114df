"""The picture of classified images: each with the class that was inferred and how sure the network is of it.

Drawn without pyplot, so that a background thread can do it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from aign.evaluation.pose_picture import BACKGROUND, FAINT_INK, GAP_IN, INK, MARGIN_IN

MISTAKE = "#d55e00"
"""Vermilion of Okabe and Ito, which the colour-blind tell apart from ink."""
COLUMNS = 10
PANEL_IN, CAPTION_IN = 0.66, 0.2
"""Side of an image, and the height of what stands under it, inches."""
TITLE_IN, HEAD_IN, FOOT_IN = 0.5, 0.25, 0.15
"""Heights of the title, of what stands above a group, and of the space under it, inches."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Guesses:
    """Images with their inferred classes."""

    images: Float[Tensor, "images 1 height width"]
    """In [0, 1]."""
    classes: Int[Tensor, " images"]
    confidences: Float[Tensor, " images"]
    """Probabilities of the classes."""
    truth: Int[Tensor, " images"] | None
    """None where it is not known."""


def draw_guesses(groups: Mapping[str, Guesses], *, title: str) -> Figure:
    """Groups of images under their names; wrong classes are marked, with the true one behind. Empty groups are left
    out."""
    groups = {name: guesses for name, guesses in groups.items() if len(guesses.images)}
    row_height = PANEL_IN + CAPTION_IN + GAP_IN
    num_rows = {name: -(-len(guesses.images) // COLUMNS) for name, guesses in groups.items()}
    width = COLUMNS * (PANEL_IN + GAP_IN) - GAP_IN + 2 * MARGIN_IN
    height = TITLE_IN + sum(HEAD_IN + count * row_height + FOOT_IN for count in num_rows.values())
    figure = Figure(figsize=(width, height), dpi=150, facecolor=BACKGROUND)
    figure.text(MARGIN_IN / width, 1 - 0.2 / height, title, size=10, weight="bold", color=INK, va="top")
    top = TITLE_IN
    for name, guesses in groups.items():
        figure.text(MARGIN_IN / width, 1 - top / height, name, size=8, color=FAINT_INK, va="top")
        top += HEAD_IN
        for i in range(len(guesses.images)):
            row, column = divmod(i, COLUMNS)
            left, bottom = MARGIN_IN + column * (PANEL_IN + GAP_IN), height - top - row * row_height - PANEL_IN
            axes = figure.add_axes((left / width, bottom / height, PANEL_IN / width, PANEL_IN / height))
            _draw(axes, guesses, i)
        top += num_rows[name] * row_height + FOOT_IN
    return figure


def _draw(axes: Axes, guesses: Guesses, i: int) -> None:
    axes.imshow(guesses.images[i, 0].cpu(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    caption, colour = f"{guesses.classes[i]}, {100 * guesses.confidences[i]:.0f} %", INK
    if guesses.truth is not None and guesses.truth[i] != guesses.classes[i]:
        caption, colour = f"{caption}, is {guesses.truth[i]}", MISTAKE
        axes.spines[:].set(visible=True, color=MISTAKE, linewidth=2)
    axes.set_xlabel(caption, size=6.5, color=colour, labelpad=3)
