"""The command that compares alphas, on few samples."""

import pytest

from aign.fitting.clustering.__main__ import Found, best, main


def test_prints_a_table(capsys):
    assert main(["--samples", "60", "--draws", "2", "--alphas", "0", "-8"]) == 0
    printed = capsys.readouterr().out
    assert "generated scribbles: 2 draws of 60 samples of 10 kinds" in printed
    assert "gRCC*" in printed
    alphas = [line.split("│")[2].strip() for line in printed.splitlines() if line.startswith("│")]
    assert alphas == ["0", "-2", "-8"]  # RCC's own is always among them
    assert "of what RCC lacks to 1" in printed.replace("\n", " ")


def test_the_best_alpha_is_the_one_nearest_to_rcc_of_equals():
    found = {0.0: [Found(0.5, 3)], -2.0: [Found(0.6, 3)], -8.0: [Found(0.6, 3)]}
    assert best(found) == -2
    assert best(found | {-32.0: [Found(0.7, 3)]}) == -32


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--draws", "0"], "error: draws = 0: "),
        (["--alphas", "3"], "error: alphas = (3.0,): "),
        (["--split", "train"], "error: --split train: generated images have no splits"),
        (["--metric", "manhattan"], "invalid choice"),
    ],
)
def test_a_mistake_is_one_line(options, line, capsys):
    assert main(options) == 2
    printed = capsys.readouterr().err
    assert line in printed
    assert printed.count("\n") == 1


def test_digits_need_their_folder(monkeypatch, capsys):
    monkeypatch.delenv("AIGN_DATA", raising=False)
    assert main(["--data", "digits"]) == 2
    assert "error: AIGN_DATA: is not set" in capsys.readouterr().err
