"""What is hidden of an image: boxes around landmarks, and boxes."""

import pytest
import torch

from aign.data.face_regions import REGIONS, parse_hidden
from aign.data.faces import generated_faces
from aign.data.image_streams import ImageStream
from aign.errors import UserError

FACE = {"lefteye": (20, 20), "righteye": (40, 20), "nose": (30, 30), "leftmouth": (24, 42), "rightmouth": (36, 42)}
"""Eyes 20 px apart."""


def known(count=1):
    numbers = {f"{name}_{axis}": float(v) for name, place in FACE.items() for axis, v in zip("xy", place, strict=True)}
    return {"image": torch.ones(count, 3, 64, 64)} | {k: torch.full((count,), v) for k, v in numbers.items()}


def hidden_box(mask):
    """First and last hidden row and column; what is hidden must be all of that box."""
    rows, columns = (mask[0, 0] == 0).nonzero().T
    box = [rows.min().item(), rows.max().item(), columns.min().item(), columns.max().item()]
    assert len(rows) == (box[1] - box[0] + 1) * (box[3] - box[2] + 1)
    return box


def test_the_mouth_is_hidden_as_far_as_the_eyes_are_apart():
    mask = parse_hidden("mouth").mask(known())
    assert mask.shape == (1, 1, 64, 64)
    # 42 -+ 0.42 x 20 = 33.6 to 50.4; 30 -+ 0.65 x 20 = 17 to 43
    assert hidden_box(mask) == [34, 50, 17, 43]


def test_a_smile_does_not_change_what_is_hidden():
    smile = known() | {"leftmouth_x": torch.tensor([22.0]), "rightmouth_x": torch.tensor([38.0])}
    assert torch.equal(parse_hidden("mouth").mask(smile), parse_hidden("mouth").mask(known()))


@pytest.mark.parametrize("name", REGIONS)
def test_a_region_holds_its_landmarks_and_needs_no_other_columns(name):
    region = parse_hidden(name)
    faces = generated_faces(20, 0, 64)
    masks = ImageStream(faces, columns=region.columns, observe=lambda known, _: {"mask": region.mask(known)})
    mask = masks.fixed(20)["observed"]["mask"]
    assert 0.02 < (mask == 0).float().mean() < 0.3
    for row, landmark in ((row, name) for row in range(20) for name in region.around):
        x, y = (round(faces.table[f"{landmark}_{axis}"][row]) for axis in "xy")
        assert mask[row, 0, y, x] == 0


def test_a_box_is_rows_and_columns_without_the_last():
    assert hidden_box(parse_hidden("box:3:5:10:20", 64).mask(known())) == [3, 9, 5, 19]
    assert parse_hidden("box:3:5:10:20").columns == ()


@pytest.mark.parametrize(
    ("spelling", "reason"),
    [
        ("ear", "is no part of an image; use one of mouth, nose, eyes"),
        ("box:1:2:3", "is no part"),
        ("box:1:2:3:x", "is no part"),
        ("box:²:2:3:9", "is no part"),
        ("box:1:2:3:" + "9" * 5000, "is no part"),
        ("box:3:2:3:9", "is no box in images of 64 x 64 px"),
        ("box:0:0:65:9", "is no box in images of 64 x 64 px"),
    ],
)
def test_what_cannot_be_hidden_is_refused(spelling, reason):
    with pytest.raises(UserError, match=reason):
        parse_hidden(spelling, 64)
