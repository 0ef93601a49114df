"""Files as tables name them: harmless variants are found, and nothing is guessed."""

import pytest

from aign.data.file_names import match_files

FILES = ["cats/1.png", "cats/2.JPG", "dogs/1.png", "caf\u00e9.png", "same.png", "same.jpg", "7.png"]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cats/1.png", "cats/1.png"),
        ("./cats/1.png", "cats/1.png"),
        (" cats/1.png ", "cats/1.png"),
        ("cats\\1.png", "cats/1.png"),
        ("Cats\\2.jpg", "cats/2.JPG"),
        ("cats/1.jpg", "cats/1.png"),
        ("/home/bob/photos/cats/1.png", "cats/1.png"),
        ("C:\\photos\\dogs\\1.png", "dogs/1.png"),
        ("../photos/7.png", "7.png"),
        ("cafe\u0301.png", "caf\u00e9.png"),
        ("same.jpg", "same.jpg"),
        ("same.gif", None),  # two could be meant
        ("cats/7.png", None),  # there is a folder of this name, and it is not in there
        ("1.png", None),
        ("", None),
    ],
)
def test_names(name, file):
    assert match_files([name], FILES) == [file]
