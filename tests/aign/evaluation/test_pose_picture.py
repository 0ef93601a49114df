"""The picture of the pose task: panels, what stands behind what, one scale, any skeleton."""

import sys
from io import BytesIO

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from aign.evaluation.pose_picture import SIDE_COLOURS, TRUTH_COLOUR, draw_poses
from aign.renderers.skeleton import Skeleton

IMAGE_SIZE = 64
COLUMNS = ["observed", "rendered", "inferred", "inferred", "remembered"]
STAR = Skeleton(  # no person: one joint in the middle, and names without a side
    joint_names=("middle", "leftover", "b", "c"), parents=(-1, 0, 0, 0), left_hip=1, right_hip=2, neck=3
)
CHAIN = Skeleton(
    joint_names=("pelvis", "left_hip", "left_knee", "right_hip", "right_knee", "neck"),
    parents=(-1, 0, 1, 0, 3, 0),
    left_hip=1,
    right_hip=3,
    neck=5,
)


def drawn(skeleton=CHAIN, rows=2, *, truth=True, remembered=True, **changes):
    random = torch.Generator().manual_seed(0)
    bodies = 400 * torch.randn(3, rows, skeleton.num_joints, 3, generator=random)
    keypoints = IMAGE_SIZE * torch.rand(2, rows, skeleton.num_joints, 2, generator=random)
    options = {
        "observed_px": keypoints[0],
        "rendered_px": keypoints[1],
        "joints_mm": bodies[0],
        "truth_mm": bodies[1] if truth else None,
        "remembered_mm": bodies[2] if remembered else None,
        "skeleton": skeleton,
        "image_size": IMAGE_SIZE,
        "title": "two bodies",
    }
    return draw_poses(**options | changes)


def panels(figure, rows=2):
    return np.array(figure.axes).reshape(rows, -1)


def lines_of(axes, colour):
    """(segments, 2, 2) that are drawn in a colour."""
    return np.array(
        [
            segment
            for collection in axes.collections
            if isinstance(collection, LineCollection)
            for segment, own in zip(collection.get_segments(), _colours(collection), strict=True)
            if own == colour
        ]
    ).reshape(-1, 2, 2)


def _colours(collection):
    colours = [to_hex(colour) for colour in collection.get_colors()]
    return colours if len(colours) > 1 else colours * len(collection.get_segments())


def texts(figure):
    own = [text.get_text() for text in figure.texts]
    return own + [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("skeleton", [STAR, CHAIN], ids=["star", "chain"])
@pytest.mark.parametrize("truth", [True, False])
@pytest.mark.parametrize("remembered", [True, False])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_row_a_sample_and_a_column_a_word(skeleton, truth, remembered, rows):
    figure = drawn(skeleton, rows, truth=truth, remembered=remembered)
    columns = COLUMNS if remembered else COLUMNS[:-1]
    assert len(figure.axes) == rows * len(columns)
    assert [axes.get_title(loc="left") for axes in panels(figure, rows)[0]] == columns
    assert "two bodies" in texts(figure)
    assert texts(figure).count("500 mm") == 1
    assert len(figure.legends) == 1


def test_it_becomes_a_png_without_pyplot(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it is an error
    file = BytesIO()
    drawn().savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")
    assert len(file.getvalue()) > 10_000


def test_only_known_truth_is_drawn_behind_the_inferred():
    for truth in (True, False):
        row = panels(drawn(truth=truth))[0]
        behind = [len(lines_of(axes, TRUTH_COLOUR)) for axes in row]
        num_bones = len(CHAIN.bones)
        assert behind == [0, num_bones, num_bones * truth, num_bones * truth, 0]


def test_numbers_are_mean_distances_to_the_observed_and_to_the_root_relative_truth():
    joints = torch.zeros(2, CHAIN.num_joints, 3)
    truth = joints.clone()
    truth[:, 1:, 2] = 60.0  # five of six joints, seen from the root
    keypoints = torch.full((2, CHAIN.num_joints, 2), 30.0)
    figure = drawn(
        observed_px=keypoints,
        rendered_px=keypoints + torch.tensor([3.0, 4.0]),
        joints_mm=joints + 5000,
        truth_mm=truth - 700,
    )
    assert texts(figure).count("5.0 px") == texts(figure).count("50 mm") == 2
    assert not [text for text in texts(drawn(truth=False)) if text.endswith(" mm") and text != "500 mm"]


def test_sides_have_their_colours_and_other_names_are_torso():
    body = panels(drawn(truth=False))[0, 2]
    assert [len(lines_of(body, SIDE_COLOURS[side])) for side in ("left", "right", "torso")] == [2, 2, 1]
    star = panels(drawn(STAR, truth=False))[0, 2]
    assert len(lines_of(star, SIDE_COLOURS["torso"])) == len(STAR.bones)


def test_the_side_view_is_a_turn_about_the_vertical():
    joints = torch.zeros(2, CHAIN.num_joints, 3)
    joints[:, CHAIN.joint_names.index("neck")] = torch.tensor([100.0, -200.0, 300.0])
    _, _, camera, side, _ = panels(drawn(joints_mm=joints, truth=False))[0]
    np.testing.assert_allclose(lines_of(camera, SIDE_COLOURS["torso"])[0, 1], [100, -200])
    np.testing.assert_allclose(lines_of(side, SIDE_COLOURS["torso"])[0, 1], [300, -200])


def test_near_bones_are_drawn_over_far_ones():
    joints = torch.zeros(2, CHAIN.num_joints, 3)
    joints[:, :, 0] = torch.arange(CHAIN.num_joints)
    joints[:, 3:5, 2] = -300.0  # the right leg is nearer to the camera, and farther from its right
    camera = panels(drawn(joints_mm=joints, truth=False))[0, 2]
    order = [colour for colour in _colours(camera.collections[0]) if colour in SIDE_COLOURS.values()]
    assert order[-1] == SIDE_COLOURS["right"]


def test_all_bodies_have_one_scale_and_fit_with_y_down():
    figure = drawn()
    bodies = panels(figure)[:, 2:].ravel()
    widths = [np.ptp(axes.get_xlim()) for axes in bodies] + [np.ptp(axes.get_ylim()) for axes in bodies]
    np.testing.assert_allclose(widths, widths[0])
    for axes in figure.axes:
        assert axes.get_ylim()[0] > axes.get_ylim()[1]
    for axes in bodies:
        segments = np.concatenate([lines_of(axes, colour) for colour in (*SIDE_COLOURS.values(), TRUTH_COLOUR)])
        low, high = np.sort([axes.get_xlim(), axes.get_ylim()]).T
        assert (segments >= low).all()
        assert (segments <= high).all()


def test_images_are_shown_whole():
    for axes in panels(drawn())[:, :2].ravel():
        assert axes.get_xlim() == (-0.5, IMAGE_SIZE - 0.5)
        assert axes.get_ylim() == (IMAGE_SIZE - 0.5, -0.5)


def test_labels_name_the_rows():
    figure = drawn(labels=["running", "sitting"])
    assert [axes.texts[-1].get_text() for axes in panels(figure)[:, 0]] == ["running", "sitting"]
