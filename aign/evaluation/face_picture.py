"""The picture of tasks on images: observed | rendered | inferred | remembered | difference | true, a row a sample.

Drawn without pyplot, so that a background thread can do it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from aign.evaluation.pose_picture import BACKGROUND, FAINT_INK, GAP_IN, HEAD_IN, INK, MARGIN_IN

Images = Float[Tensor, "images channels height width"]
"""In [0, 1]."""

PANEL_IN, FOOT_IN = 1.2, 0.2
CONTRAST = 8
"""How many times larger differences are shown than they are."""
_GRID_GAP_PX = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class _Column:
    role: str
    view: str
    images: Images
    notes: Sequence[str] = ()
    """A few words in the corner of each row."""


def draw_faces(
    *,
    observed: Images,
    rendered: Images,
    inferred: Images,
    remembered: Images | None,
    truth: Images | None,
    notes: Sequence[str],
    title: str,
) -> Figure:
    """A row a sample; all images of one size. ``notes`` stand in the corner of each difference.

    The difference is that of rendered from observed, ``CONTRAST`` times, around grey. Memories have nothing to do with
    their row; their column is left out where there are none, as is that of the truth.
    """
    difference = 0.5 + CONTRAST * (rendered - observed)
    columns = [
        _Column(role="observed", view="the input", images=observed),
        _Column(role="rendered", view="of the inferred", images=rendered),
        _Column(role="inferred", view="imagined", images=inferred),
        *([] if remembered is None else [_Column(role="remembered", view="others, unpaired", images=remembered)]),
        _Column(role="difference", view=f"rendered - observed, x {CONTRAST}", images=difference, notes=notes),
        *([] if truth is None else [_Column(role="true", view="not seen in training", images=truth)]),
    ]
    num_rows = len(observed)
    width = len(columns) * (PANEL_IN + GAP_IN) - GAP_IN + 2 * MARGIN_IN
    height = num_rows * (PANEL_IN + GAP_IN) - GAP_IN + HEAD_IN + FOOT_IN
    figure = Figure(figsize=(width, height), dpi=150, facecolor=BACKGROUND)
    figure.text(MARGIN_IN / width, 1 - 0.2 / height, title, size=10, weight="bold", color=INK, va="top")
    for i, column in enumerate(columns):
        for row, image in enumerate(_shown(column.images)):
            left = MARGIN_IN + i * (PANEL_IN + GAP_IN)
            bottom = FOOT_IN + (num_rows - 1 - row) * (PANEL_IN + GAP_IN)
            axes = figure.add_axes((left / width, bottom / height, PANEL_IN / width, PANEL_IN / height))
            axes.imshow(image, interpolation="nearest")
            axes.set_axis_off()
            if column.notes:
                _note(axes, column.notes[row])
            if row == 0:
                head(axes, column.role, column.view)
    return figure


def head(axes: Axes, role: str, view: str) -> None:
    """What stands above a column of images."""
    axes.set_title(role, loc="left", size=9, weight="bold", color=INK, pad=14)
    axes.annotate(view, (0, 1), (0, 4), "axes fraction", textcoords="offset points", size=6.5, color=FAINT_INK)


def _note(axes: Axes, text: str) -> None:
    paper = {"facecolor": BACKGROUND, "linewidth": 0, "pad": 1.5}
    axes.text(0.97, 0.95, text, size=6.5, color=INK, va="top", ha="right", transform=axes.transAxes, bbox=paper)


def write_images(images: Images, folder: Path, names: Sequence[str]) -> list[Path]:
    """Each image as ``NAME.png``, and all of them, side by side in rows, as ``grid.png``."""
    paths = [folder / f"{name}.png" for name in (*names, "grid")]
    for path, image in zip(paths, [*_shown(images), *_shown(grid(images)[None])], strict=True):
        Image.fromarray(image).save(path)
    return paths


def grid(images: Images) -> Float[Tensor, "channels rows columns"]:
    """Images side by side in about as many rows as columns, with white between and where there are none."""
    num_columns = math.ceil(math.sqrt(len(images)))
    num_rows = math.ceil(len(images) / num_columns)
    missing = images.new_ones(num_rows * num_columns - len(images), *images.shape[1:])
    tiles = pad(torch.cat([images, missing]), [_GRID_GAP_PX] * 4, value=1.0)
    rows = tiles.unflatten(0, (num_rows, num_columns))
    return rows.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)


def _shown(images: Images):
    """Bytes (images, height, width, 3)."""
    levels = images.detach().cpu().clamp(0, 1).mul(255).round().byte()
    return levels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().numpy()
