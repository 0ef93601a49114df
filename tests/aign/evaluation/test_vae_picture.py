"""The picture of the VAE: panels, notes, and maps of shapes."""

import sys
from io import BytesIO

import numpy as np
import pytest
import torch

from aign.evaluation.vae_picture import ShapeMap, draw_reconstructions


def shape_map(channels, **changes):
    options = {
        "name": "alpha",
        "values": torch.linspace(0, 3, channels * 20).view(channels, 4, 5),
        "channels": ("Y", "U", "V")[:channels] if channels > 1 else (),
        "view": "of each coefficient",
        "limits": (0.0, 3.0),
        "ticks": {0.0: "0 Cauchy", 2.0: "2 normal"},
    }
    return ShapeMap(**options | changes)


def drawn(rows=2, channels=3, *, imagined=True, shape=True, **changes):
    """``shape`` is a map, or whether there is one."""
    images = torch.rand(3, rows, channels, 4, 5, generator=torch.Generator().manual_seed(0))
    options = {
        "observed": images[0],
        "rendered": images[1],
        "imagined": images[2] if imagined else None,
        "notes": [f"{row} dB" for row in range(rows)],
        "shape": shape_map(channels) if shape is True else shape or None,
        "title": "two images",
    }
    return draw_reconstructions(**options | changes)


def panels(figure):
    return [axes for axes in figure.axes if axes.images and axes.images[0].get_array().ndim == 3]


def maps(figure):
    return [axes for axes in figure.axes if axes.images and axes.images[0].get_array().ndim == 2]


def texts(figure):
    return [text.get_text() for text in figure.texts] + [t.get_text() for axes in figure.axes for t in axes.texts]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("imagined", [True, False])
@pytest.mark.parametrize("shape", [True, False])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_row_a_sample_a_column_a_word_and_a_map_a_channel(channels, imagined, shape, rows):
    figure = drawn(rows, channels, imagined=imagined, shape=shape)
    columns = ["observed", "rendered", *(["imagined"] if imagined else [])]
    assert len(panels(figure)) == rows * len(columns)
    assert [axes.get_title(loc="left") for axes in panels(figure) if axes.get_title(loc="left")] == columns
    assert len(maps(figure)) == channels * shape
    assert {"two images", *(f"{row} dB" for row in range(rows))} <= set(texts(figure))
    for axes in figure.axes:  # all of it is inside the figure
        box = axes.get_position()
        assert 0 <= box.x0 < box.x1 <= 1
        assert 0 <= box.y0 < box.y1 <= 1


def test_it_becomes_a_png_without_pyplot(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it is an error
    file = BytesIO()
    drawn().savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")


def test_images_are_shown_as_they_are_and_clipped_at_black_and_white():
    observed = torch.tensor([[-1.0, 0.25], [0.5, 2.0]]).expand(1, 1, 2, 2)
    first = panels(drawn(1, 1, observed=observed, rendered=observed, imagined=None))[0].images[0].get_array()
    np.testing.assert_allclose(first, np.array([[0, 0.25], [0.5, 1]])[..., None].repeat(3, -1))


def test_maps_share_a_colour_bar_with_the_meanings():
    figure = drawn()
    assert len({axes.images[0].norm for axes in maps(figure)}) == 1
    labels = [[text.get_text() for text in axes.get_yticklabels()] for axes in figure.axes]
    assert ["0 Cauchy", "2 normal"] in labels
    assert [axes.get_ylabel() for axes in maps(figure)] == ["Y", "U", "V"]


def test_logarithmic_maps():
    shape = shape_map(1, limits=(0.1, 10.0), logarithmic=True, ticks={1.0: "1"})
    (axes,) = maps(drawn(2, 1, shape=shape))
    assert axes.images[0].norm(1.0) == pytest.approx(0.5)
