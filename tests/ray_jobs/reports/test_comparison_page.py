"""The page of several runs sets beside each other what they share, and names where they differ."""

import pytest

from ray_jobs.reports.comparison_page import comparison_page, shared
from ray_jobs.reports.plots import style
from ray_jobs.reports.stored import read_run


@pytest.fixture
def runs(tmp_path, write_run, logged, evaluated):
    def run(name, error, *argv):
        attempt = ({"began": 0.0, "ended": 36.0}, [logged(10, 1.0), evaluated(10, error)])
        return read_run(write_run(tmp_path / name, attempt, argv=argv, finished=True, pictures=(10,)))

    return [run("narrow", 90.0, "--width", "32"), run("wide", 80.0, "--width", "64", "--generator-lr", "1e-3")]


def test_only_options_that_differ_are_shown(runs):
    page = comparison_page("runs", runs, price=None)
    part = page[page.index("where their options differ") : page.index("metrics, as measured last")]
    for cell in (">width<", ">32<", ">64<", ">generator lr<", ">0.001<"):
        assert part.count(cell) == 1
    assert "batch size" not in part


def test_runs_of_the_same_options_differ_nowhere(runs):
    assert "with the same options" in comparison_page("runs", [runs[0], runs[0]], price=None)


def test_metrics_stand_side_by_side_with_their_baseline(runs):
    page = comparison_page("runs", runs, price=10.0)
    part = page[page.index("metrics, as measured last") :]
    for cell in (">90.0<", ">80.0<", ">180.0<", ">160.0<", ">baseline: mean pose<"):
        assert part.count(cell) == 1
    assert part.count("Measured on generated bodies, validation split, 64 samples.") == 1
    assert part.count("data:image/png;base64,") == 2
    assert page.count(">0.40<") == 1  # two workers for 36 s each, twice


def test_what_was_measured_on_other_data_is_another_table(runs):
    runs[1].history.evaluated[-1]["evaluation"]["num_samples"] = 32
    page = comparison_page("runs", runs, price=None)
    assert page.count("Measured on") == 2
    assert page.count(">baseline: mean pose<") == 2


def test_curves_that_two_runs_have_are_laid_over_each_other():
    curves = [{"a": ([1], [1.0]), "b": ([1], [2.0])}, {"c": ([1], [3.0])}, {"a": ([1], [4.0])}]
    (panel,) = shared(curves, [style(i) for i in range(3)])
    assert panel.title == "a"
    assert list(panel.curves) == [([1], [1.0]), ([1], [4.0])]
    assert list(panel.lines) == [style(0), style(2)]
