"""The picture of classified images: a panel an image, captions, and marks on mistakes."""

import sys
from io import BytesIO

import pytest
import torch
from matplotlib.colors import same_color

from aign.evaluation.class_picture import MISTAKE, Guesses, draw_guesses


def guesses(count, *, truth=None):
    """Images classified as 0, 1, 2, ... with ever less confidence."""
    return Guesses(
        images=torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(0)),
        classes=torch.arange(count),
        confidences=torch.linspace(1.0, 0.5, count),
        truth=None if truth is None else torch.tensor(truth),
    )


def captions(figure):
    return [axes.get_xlabel() for axes in figure.axes]


@pytest.mark.parametrize("count", [1, 10, 13])
def test_a_panel_an_image_inside_the_figure(count):
    figure = draw_guesses({"some": guesses(count), "none": guesses(0), "others": guesses(2)}, title="digits")
    assert [text.get_text() for text in figure.texts] == ["digits", "some", "others"]
    boxes = [axes.get_position() for axes in figure.axes]
    assert len({(round(box.x0, 3), round(box.y0, 3)) for box in boxes}) == len(boxes) == count + 2
    for box in boxes:
        assert 0 <= box.x0 < box.x1 <= 1
        assert 0 < box.y0 < box.y1 < 1


def test_captions_say_the_class_and_how_sure_it_is_and_mistakes_are_marked():
    figure = draw_guesses({"all": guesses(3, truth=[0, 7, 2])}, title="digits")
    assert captions(figure) == ["0, 100 %", "1, 75 %, is 7", "2, 50 %"]
    marked = [axes.spines["left"].get_visible() for axes in figure.axes]
    assert marked == [False, True, False]
    assert same_color(figure.axes[1].spines["left"].get_edgecolor(), MISTAKE)


def test_nothing_is_marked_where_the_truth_is_unknown():
    figure = draw_guesses({"all": guesses(3)}, title="digits")
    assert captions(figure) == ["0, 100 %", "1, 75 %", "2, 50 %"]
    assert not any(axes.spines["left"].get_visible() for axes in figure.axes)


def test_it_becomes_a_png_without_pyplot(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it is an error
    file = BytesIO()
    draw_guesses({"all": guesses(3)}, title="digits").savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")
