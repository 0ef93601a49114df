"""The command that compares losses, on few points."""

import pytest

from aign.data.pointclouds import generated_pair
from aign.fitting.registration.__main__ import main
from aign.fitting.registration.comparison import FGR, SHAPE_ANNEALED, SQUARES, TUNED, compare


def test_prints_a_table_and_draws(capsys, tmp_path):
    picture = tmp_path / "new" / "clouds.png"
    options = ["--pairs", "2", "--num-points", "500", "--noise", "0", "0.001", "--alphas", "0", "-2"]
    assert main([*options, "--picture", str(picture)]) == 0
    printed = capsys.readouterr().out
    assert "2 pairs (generated things; 2 x 500 points)" in printed
    assert all(name in printed for name in (SQUARES, FGR, SHAPE_ANNEALED, TUNED, "mean 0.001", "max 0.001"))
    assert picture.stat().st_size > 10_000


def test_the_tuned_alpha_is_the_best_of_those_tried():
    def make(seed, noise):
        return generated_pair(seed, num_points=400, noise=noise)

    both = compare(make, seeds=[0, 1], noises=[0.0], alphas=[1.0, -2.0])
    each = [compare(make, seeds=[0, 1], noises=[0.0], alphas=[alpha])[TUNED][0] for alpha in (1.0, -2.0)]
    assert both[TUNED][0] == min(each)
    assert each[1].mean == pytest.approx(both[FGR][0].mean)
    assert both[FGR][0].max >= both[FGR][0].mean


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--pairs", "0"], "error: pairs = 0: "),
        (["--noise", "-1"], "error: noise = (-1.0,): "),
        (["--outliers", "1"], "error: outliers = 1.0: "),
        (["--num-points", "9"], "error: num_points = 9: "),
        (["--data", "bunnies"], "invalid choice"),
        (["--pears", "3"], "--pears"),
    ],
)
def test_a_mistake_is_one_line(options, line, capsys):
    assert main(options) == 2
    printed = capsys.readouterr().err
    assert line in printed
    assert printed.count("\n") == 1


def test_scans_need_their_folder(monkeypatch, capsys):
    monkeypatch.delenv("AIGN_DATA", raising=False)
    assert main(["--data", "scans"]) == 2
    assert "error: AIGN_DATA: is not set" in capsys.readouterr().err
