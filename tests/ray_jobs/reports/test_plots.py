"""Curves: thinned without hiding anything, and drawn one panel each."""

import math

import numpy as np
import pytest

from ray_jobs.reports.plots import MOST_POINTS, Panel, small_multiples, style, thinned


def test_a_short_curve_stays_as_it_is():
    steps, middle, low, high = thinned(([2, 4, 8], [1.0, 3.0, 2.0]))
    assert steps.tolist() == [2, 4, 8]
    assert middle.tolist() == low.tolist() == high.tolist() == [1.0, 3.0, 2.0]


def test_a_long_curve_keeps_its_mean_and_every_extreme():
    values = np.random.default_rng(0).normal(size=10 * MOST_POINTS)
    values[1234] = 50.0
    steps, middle, low, high = thinned((list(range(len(values))), values.tolist()))
    assert len(steps) == len(middle) == MOST_POINTS
    assert middle.mean() == pytest.approx(values.mean())
    assert (low.min(), high.max()) == (values.min(), 50.0)
    assert (low <= middle).all()
    assert (middle <= high).all()


def test_a_value_that_is_not_finite_is_a_gap():
    _, middle, _, _ = thinned(([1, 2, 3, 4], [1.0, math.nan, 3.0, 5.0]), most=2)
    assert math.isnan(middle[0])
    assert middle[1] == 4.0


def test_every_panel_is_drawn_with_all_its_curves_and_levels():
    panels = [
        Panel(title="a_b", curves=[([1, 2], [1.0, 2.0]), ([1, 2], [3.0, 4.0])], lines=[style(0), style(1)]),
        Panel(title="log", curves=[([1, 2], [1.0, 1e4])], levels={"baseline": 10.0}),
        Panel(title="from zero", curves=[([1, 2], [5.0, 6.0])], from_zero=True),
        Panel(title="nothing finite", curves=[([1], [math.nan])]),
    ]
    axes = small_multiples(panels, [("first", 1), ("second", 2)]).axes
    assert [own.get_title(loc="left") for own in axes] == ["a b", "log", "from zero", "nothing finite"]
    assert [len(own.lines) for own in axes] == [2 + 1, 1 + 1 + 1, 1 + 1, 1 + 1]  # and where the first stage ends
    assert [own.get_yscale() for own in axes] == ["linear", "log", "linear", "linear"]
    assert axes[2].get_ylim()[0] == 0


def test_many_runs_have_lines_of_their_own():
    assert len({style(i) for i in range(20)}) == 20
