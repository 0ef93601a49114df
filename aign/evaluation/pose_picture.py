"""The picture of the pose task: observed | rendered | inferred from two sides, truth behind | remembered.

Drawn without pyplot, so that a background thread can do it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from aign.renderers.skeleton import Skeleton
from aign.renderers.torso import root_relative

SIDE_COLOURS = {"left": "#0072b2", "right": "#d55e00", "torso": "#39424e"}
"""Blue and vermilion of Okabe and Ito, which the colour-blind tell apart, and slate."""
TRUTH_COLOUR = "#a3abb5"
INK, FAINT_INK, FRAME, BACKGROUND = "#1f2730", "#6b7682", "#dfe3e8", "#f5f6f8"
PAPER, MEMORY_PAPER = "#ffffff", "#fdf8ec"
"""Behind a sample, and behind what has nothing to do with it."""

PANEL_IN, GAP_IN, HEAD_IN, FOOT_IN, MARGIN_IN = 1.72, 0.08, 0.88, 0.42, 0.3
"""Width of a panel, of the space between panels, and of what is around them, inches."""
SCALE_BAR_MM = 500.0
CASING_ENDS = np.array([[0.8, 0.2], [0.2, 0.8]])
"""A bone's casing is shorter than the bone, so that it does not cut into the bones that it joins."""
ROOM = 1.12
"""Panels in mm are this much wider than the largest skeleton in the figure."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Column:
    """One kind of panel, a row a sample."""

    role: str
    view: str
    joints: np.ndarray
    """(rows, joints, 3): right, down and away from the viewer, in px or mm."""
    behind: np.ndarray | None = None
    """What is drawn thin and grey behind: the observed or the truth, of the same shape."""
    notes: Sequence[str] = ()
    """A few words in the corner of each row."""
    keypoints: bool = False
    """In an image, px; otherwise a body, mm."""
    paper: str = PAPER


def draw_poses(
    *,
    observed_px: Float[Tensor, "rows joints 2"],
    rendered_px: Float[Tensor, "rows joints 2"],
    joints_mm: Float[Tensor, "rows joints 3"],
    truth_mm: Float[Tensor, "rows joints 3"] | None,
    remembered_mm: Float[Tensor, "rows joints 3"] | None,
    skeleton: Skeleton,
    image_size: int,
    title: str,
    labels: Sequence[str] = (),
) -> Figure:
    """A row a sample: observed | rendered over observed | inferred from the camera and from the side | remembered.

    Keypoints are in pixels of a square image of ``image_size``; joints are in the camera frame (x right, y down,
    z forward), millimetres, and are drawn relative to the skeleton's root, all at one scale. Truth stands behind the
    inferred where it is known; without memories their column is left out. ``labels`` (optional) names each row.
    """
    columns = _image_columns(observed_px, rendered_px) + _body_columns(joints_mm, truth_mm, remembered_mm, skeleton)
    figure, panels = _grid(len(observed_px), len(columns), title)
    half_mm = _half_width(columns)
    for column, column_panels in zip(columns, panels.T, strict=True):
        _head(column_panels[0], column)
        for row, axes in enumerate(column_panels):
            _draw_panel(axes, column, row, skeleton)
            if column.keypoints:
                axes.set(xlim=(-0.5, image_size - 0.5), ylim=(image_size - 0.5, -0.5))
            else:
                _centre(axes, column, row, half_mm)
    _scale_bar(next(axes for axes, column in zip(panels[-1], columns, strict=True) if not column.keypoints))
    for axes, label in zip(panels[:, 0], labels, strict=False):
        _corner(axes, label, x=0.04, y=0.96, colour=INK)
    _legend(figure, truth_mm is not None)
    return figure


# --- what is drawn -------------------------------------------------------------------------------------------------


def _image_columns(observed_px: Tensor, rendered_px: Tensor) -> list[_Column]:
    observed, rendered = (_flat(_array(keypoints)) for keypoints in (observed_px, rendered_px))
    return [
        _Column(role="observed", view="keypoints", joints=observed, keypoints=True),
        _Column(
            role="rendered",
            view="over the observed",
            joints=rendered,
            behind=observed,
            notes=_mean_distances(rendered, observed, "px", digits=1),
            keypoints=True,
        ),
    ]


def _body_columns(
    joints_mm: Tensor, truth_mm: Tensor | None, remembered_mm: Tensor | None, skeleton: Skeleton
) -> list[_Column]:
    inferred = _array(root_relative(joints_mm, skeleton))
    truth = None if truth_mm is None else _array(root_relative(truth_mm, skeleton))
    columns = [
        _Column(
            role="inferred",
            view="from the camera",
            joints=inferred,
            behind=truth,
            notes=() if truth is None else _mean_distances(inferred, truth, "mm", digits=0),
        ),
        _Column(
            role="inferred",
            view="from the side",
            joints=_from_the_side(inferred),
            behind=None if truth is None else _from_the_side(truth),
        ),
    ]
    if remembered_mm is not None:
        remembered = _array(root_relative(remembered_mm, skeleton))
        columns.append(_Column(role="remembered", view="unpaired true poses", joints=remembered, paper=MEMORY_PAPER))
    return columns


def _from_the_side(joints: np.ndarray) -> np.ndarray:
    """The view of someone at the camera's right: a turn of 90 degrees about the vertical."""
    x, y, z = np.moveaxis(joints, -1, 0)
    return np.stack([z, y, -x], -1)


def _mean_distances(a: np.ndarray, b: np.ndarray, unit: str, digits: int) -> list[str]:
    return [f"{distance:.{digits}f} {unit}" for distance in np.linalg.norm(a - b, axis=-1).mean(-1)]


def _half_width(columns: Sequence[_Column]) -> float:
    """Half the width of a panel that holds every body, mm."""
    bodies = [_shown(column, row) for column in columns if not column.keypoints for row in range(len(column.joints))]
    spans = [np.ptp(body, axis=0).max() for body in bodies]
    return ROOM * max(*spans, SCALE_BAR_MM) / 2


def _shown(column: _Column, row: int) -> np.ndarray:
    """(points, 2): everything in one panel."""
    parts = [column.joints[row]] if column.behind is None else [column.joints[row], column.behind[row]]
    return np.concatenate(parts)[:, :2]


def _flat(keypoints: np.ndarray) -> np.ndarray:
    """Keypoints as joints at no depth."""
    return np.pad(keypoints, ((0, 0), (0, 0), (0, 1)))


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().double().numpy()


# --- panels --------------------------------------------------------------------------------------------------------


def _grid(num_rows: int, num_columns: int, title: str) -> tuple[Figure, np.ndarray]:
    """The figure and its (rows, columns) empty panels."""
    width = num_columns * (PANEL_IN + GAP_IN) - GAP_IN + 2 * MARGIN_IN
    height = num_rows * (PANEL_IN + GAP_IN) - GAP_IN + HEAD_IN + FOOT_IN
    figure = Figure(figsize=(width, height), dpi=150, facecolor=BACKGROUND)
    panels = figure.subplots(
        num_rows,
        num_columns,
        squeeze=False,
        gridspec_kw={
            "left": MARGIN_IN / width,
            "right": 1 - MARGIN_IN / width,
            "bottom": FOOT_IN / height,
            "top": 1 - HEAD_IN / height,
            "wspace": GAP_IN / PANEL_IN,
            "hspace": GAP_IN / PANEL_IN,
        },
    )
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[], aspect="equal")
        axes.spines[:].set(color=FRAME, linewidth=0.8)
    figure.text(MARGIN_IN / width, 1 - 0.2 / height, title, size=11, weight="bold", color=INK, va="top")
    return figure, panels


def _head(axes: Axes, column: _Column) -> None:
    axes.set_title(column.role, loc="left", size=10, weight="bold", color=INK, pad=17)
    axes.annotate(column.view, (0, 1), (0.5, 6), "axes fraction", textcoords="offset points", size=7.5, color=FAINT_INK)


def _draw_panel(axes: Axes, column: _Column, row: int, skeleton: Skeleton) -> None:
    axes.set_facecolor(column.paper)
    if column.behind is not None:
        _draw_thin(axes, column.behind[row], skeleton)
    _draw_skeleton(axes, column.joints[row], skeleton, width=1.4 if column.keypoints else 2.8, paper=column.paper)
    if column.keypoints:
        colours = [SIDE_COLOURS[_side(name)] for name in skeleton.joint_names]
        axes.scatter(column.joints[row, :, 0], column.joints[row, :, 1], s=7, c=colours, linewidths=0, zorder=3)
    if column.notes:
        _corner(axes, column.notes[row], x=0.96, y=0.96, colour=FAINT_INK, ha="right")


def _draw_thin(axes: Axes, joints: np.ndarray, skeleton: Skeleton) -> None:
    lines = LineCollection(
        list(joints[skeleton.bones, :2]), colors=TRUTH_COLOUR, linewidths=1.1, capstyle="round", zorder=1
    )
    axes.add_collection(lines, autolim=False)


def _draw_skeleton(axes: Axes, joints: np.ndarray, skeleton: Skeleton, *, width: float, paper: str) -> None:
    """Bones from the farthest to the nearest, each in a casing that parts it from what lies behind."""
    bones = joints[skeleton.bones]
    colours = np.array([SIDE_COLOURS[_side(skeleton.joint_names[child])] for _, child in skeleton.bones])
    order = np.argsort(-bones[..., 2].mean(1), kind="stable")
    casings = CASING_ENDS @ bones
    lines = LineCollection(
        list(np.stack([casings[order], bones[order]], 1)[..., :2].reshape(-1, 2, 2)),
        colors=np.stack([np.full(len(order), paper), colours[order]], 1).ravel(),
        linewidths=np.tile([width + 1.6, width], len(order)),
        capstyle="round",
        zorder=2,
    )
    axes.add_collection(lines, autolim=False)


def _side(joint_name: str) -> str:
    prefix = joint_name.split("_")[0]
    return prefix if prefix in ("left", "right") else "torso"


def _centre(axes: Axes, column: _Column, row: int, half_mm: float) -> None:
    shown = _shown(column, row)
    x, y = (shown.min(0) + shown.max(0)) / 2
    axes.set(xlim=(x - half_mm, x + half_mm), ylim=(y + half_mm, y - half_mm))


def _corner(axes: Axes, text: str, *, x: float, y: float, colour: str, ha: str = "left") -> None:
    axes.text(x, y, text, transform=axes.transAxes, size=7, color=colour, va="top", ha=ha, zorder=4)


def _scale_bar(axes: Axes) -> None:
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    start, y = left + 0.05 * (right - left), bottom + 0.06 * (top - bottom)
    axes.plot([start, start + SCALE_BAR_MM], [y, y], color=INK, linewidth=1.6, solid_capstyle="butt", zorder=4)
    axes.annotate(
        f"{SCALE_BAR_MM:.0f} mm", (start, y), (0, 3), textcoords="offset points", size=6.5, color=INK, zorder=4
    )


def _legend(figure: Figure, with_truth: bool) -> None:
    bones = [Line2D([], [], color=colour, linewidth=2.6, label=side) for side, colour in SIDE_COLOURS.items()]
    behind = Line2D([], [], color=TRUTH_COLOUR, linewidth=1.1, label="observed, truth" if with_truth else "observed")
    figure.legend(
        handles=[*bones, behind],
        loc="lower left",
        bbox_to_anchor=(MARGIN_IN / figure.get_figwidth(), 0.08 / figure.get_figheight()),
        borderaxespad=0,
        borderpad=0,
        ncols=4,
        fontsize=7.5,
        frameon=False,
        labelcolor=FAINT_INK,
        handlelength=1.4,
        columnspacing=1.4,
    )
    numbers = "numbers: mean distance to observed keypoints"
    figure.text(
        1 - MARGIN_IN / figure.get_figwidth(),
        0.1 / figure.get_figheight(),
        f"{numbers} (px) and to true joints, root-relative (mm)" if with_truth else f"{numbers} (px)",
        size=7,
        color=FAINT_INK,
        ha="right",
        va="bottom",
    )
