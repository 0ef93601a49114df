"""The picture of the VAE: observed | rendered | imagined, a row a sample, and the shape of each coefficient's loss.

Drawn without pyplot, so that a background thread can do it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from torch import Tensor

from aign.evaluation.face_picture import head
from aign.evaluation.pose_picture import BACKGROUND, FAINT_INK, FRAME, GAP_IN, HEAD_IN, INK, MARGIN_IN

Images = Float[Tensor, "images channels height width"]
"""In [0, 1]."""

PANEL_IN, FOOT_IN = 1.1, 0.25
MAP_IN, SPACE_IN, BAR_IN, TICKS_IN = 3.4, 0.55, 0.12, 1.0
"""Largest side of a map, and the widths of what is before it, of its colour bar and of the bar's ticks."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ShapeMap:
    """A number for each coefficient of a representation, and how to show it."""

    name: str
    values: Float[Tensor, "channels height width"]
    channels: Sequence[str]
    """Their names; empty where there is nothing to tell apart."""
    view: str
    """How coefficients are ordered."""
    limits: tuple[float, float]
    logarithmic: bool = False
    ticks: Mapping[float, str]
    """What some of the numbers mean."""


def draw_reconstructions(
    *,
    observed: Images,
    rendered: Images,
    imagined: Images | None,
    notes: Sequence[str],
    shape: ShapeMap | None,
    title: str,
) -> Figure:
    """All images of one size. ``notes`` stand in the corner of each rendered one.

    What is imagined has nothing to do with its row. It and the map of shapes are left out where there are none.
    """
    columns = [("observed", "the input", observed), ("rendered", "from its latents", rendered)]
    if imagined is not None:
        columns.append(("imagined", "from chance", imagined))
    num_rows, channels = len(observed), 0 if shape is None else len(shape.values)
    panels_width = len(columns) * (PANEL_IN + GAP_IN) - GAP_IN
    panels_height = num_rows * (PANEL_IN + GAP_IN) - GAP_IN
    map_side = 0.0 if shape is None else min(MAP_IN, (panels_height + GAP_IN) / channels - GAP_IN)
    maps_width = SPACE_IN + map_side + GAP_IN + BAR_IN + TICKS_IN if shape else 0.0
    width, height = 2 * MARGIN_IN + panels_width + maps_width, panels_height + HEAD_IN + FOOT_IN
    figure = Figure(figsize=(width, height), dpi=150, facecolor=BACKGROUND)
    figure.text(MARGIN_IN / width, 1 - 0.2 / height, title, size=10, weight="bold", color=INK, va="top")

    def place(left: float, top: float, wide: float, high: float) -> Axes:
        """Axes at inches from the left and from the top of the panels."""
        box = ((MARGIN_IN + left) / width, (height - HEAD_IN - top - high) / height, wide / width, high / height)
        return figure.add_axes(box)

    for column, (role, view, images) in enumerate(columns):
        for row, image in enumerate(_shown(images)):
            axes = place(column * (PANEL_IN + GAP_IN), row * (PANEL_IN + GAP_IN), PANEL_IN, PANEL_IN)
            axes.imshow(image, interpolation="nearest")
            axes.set_axis_off()
            if row == 0:
                head(axes, role, view)
            if role == "rendered":
                _note(axes, notes[row])
    if shape is not None:
        _draw_maps(place, shape, panels_width + SPACE_IN, map_side)
    return figure


def _draw_maps(place, shape: ShapeMap, left: float, side: float) -> None:
    """One under the other, with one colour bar."""
    scale = (LogNorm if shape.logarithmic else Normalize)(*shape.limits, clip=True)
    total = len(shape.values) * (side + GAP_IN) - GAP_IN
    for channel, values in enumerate(shape.values.cpu().float().numpy()):
        axes = place(left, channel * (side + GAP_IN), side, side)
        shown = axes.imshow(values, norm=scale, cmap="cividis", interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color=FRAME, linewidth=0.8)
        if channel == 0:
            head(axes, shape.name, shape.view)
        if shape.channels:
            axes.set_ylabel(shape.channels[channel], size=7.5, color=FAINT_INK)
    bar_axes = place(left + side + GAP_IN, 0.0, BAR_IN, total)
    bar = bar_axes.figure.colorbar(shown, cax=bar_axes, ticks=list(shape.ticks))
    bar.ax.minorticks_off()
    bar.ax.set_yticklabels(list(shape.ticks.values()), size=7, color=FAINT_INK)
    bar.outline.set(edgecolor=FRAME, linewidth=0.8)  # type: ignore[operator]
    bar.ax.tick_params(color=FRAME, length=2)


def _note(axes: Axes, text: str) -> None:
    box = {"boxstyle": "square,pad=0.15", "facecolor": BACKGROUND, "edgecolor": "none", "alpha": 0.8}
    axes.text(0.97, 0.03, text, transform=axes.transAxes, size=6, color=INK, ha="right", va="bottom", bbox=box)


def _shown(images: Images):
    """Numbers (images, height, width, 3)."""
    return images.detach().cpu().clamp(0, 1).expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
