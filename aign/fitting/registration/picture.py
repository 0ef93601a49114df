"""Two clouds before and after registration."""

from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from aign.data.pointclouds import CloudPair, moved

TARGET, SOURCE = "#3b6ea5", "#d9742b"


def draw(pair: CloudPair, poses: dict[str, Float[Tensor, "4 4"]]) -> Figure:
    """The source as it came, and then where each of ``poses`` (by what made it) puts it, over the target.

    Seen along the target's z axis; an error is the RMSE of the points both clouds show, in percent of the diameter.
    """
    figure = Figure(figsize=(4 * (1 + len(poses)), 4.4), layout="constrained")
    axes = figure.subplots(1, 1 + len(poses), squeeze=False)[0]
    centred = pair.source - pair.source.mean(0) + pair.target.mean(0)
    _show(axes[0], "before (brought to one middle)", centred, pair.target)
    for place, (name, pose) in zip(axes[1:], poses.items(), strict=True):
        title = f"{name}\nRMSE {100 * pair.rmse(pose):.2f} % of the diameter"
        _show(place, title, moved(pose, pair.source), pair.target)
    return figure


def _show(axes: Axes, title: str, source: Tensor, target: Tensor) -> None:
    for points, color, label in ((target, TARGET, "target"), (source, SOURCE, "source")):
        axes.plot(points[:, 0].numpy(), points[:, 1].numpy(), ".", markersize=1.2, color=color, label=label)
    axes.set_title(title, fontsize=9)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.legend(loc="lower right", fontsize=7, markerscale=6, frameon=False)
