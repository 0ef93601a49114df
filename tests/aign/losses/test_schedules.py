"""Schedules of alpha and scale: values by hand, spellings there and back, refusals."""

import math

import pytest

from aign.errors import UserError
from aign.losses.schedules import (
    GNC,
    AdaptiveAlpha,
    AdaptiveScale,
    Cosine,
    Fixed,
    Geometric,
    Gnc,
    Linear,
    Piecewise,
    Steps,
    parse_alpha,
    parse_scale,
)


@pytest.mark.parametrize(
    ("spelling", "schedule"),
    [
        ("fixed:1", Fixed(1)),
        ("fixed:-inf", Fixed(-math.inf)),
        ("fixed:0.123456789", Fixed(0.123456789)),
        ("linear:2:0", Linear(2, 0)),
        ("cosine:2:-2", Cosine(2, -2)),
        ("gnc", Gnc()),
        ("piecewise:0=2,0.5=1,1=0", Piecewise(((0, 2), (0.5, 1), (1, 0)))),
        ("steps:0=2,0.5=1", Steps(((0, 2), (0.5, 1)))),
        ("adaptive:0:2", AdaptiveAlpha(0, 2)),
        ("adaptive:0:3:1", AdaptiveAlpha(0, 3, 1)),
    ],
)
def test_alpha_there_and_back(spelling, schedule):
    assert parse_alpha(spelling) == schedule
    assert str(schedule) == spelling


@pytest.mark.parametrize(
    ("spelling", "schedule"),
    [
        ("fixed:2", Fixed(2)),
        ("linear:8:2", Linear(8, 2)),
        ("cosine:8:2", Cosine(8, 2)),
        ("geometric:8:1e-05", Geometric(8, 1e-5)),
        ("piecewise:0=2,1=1", Piecewise(((0, 2), (1, 1)))),
        ("adaptive:0.01", AdaptiveScale(0.01)),
    ],
)
def test_scale_there_and_back(spelling, schedule):
    assert parse_scale(spelling) == schedule
    assert str(schedule) == spelling


def test_a_plain_number_is_fixed():
    assert parse_alpha("1") == parse_alpha(" 1.0 ") == Fixed(1)
    assert parse_scale("2.5") == Fixed(2.5)


@pytest.mark.parametrize(
    ("spelling", "values"),
    [
        ("fixed:1", (1, 1, 1, 1, 1)),
        ("linear:2:0", (2, 1.5, 1, 0.5, 0)),
        ("cosine:2:-2", (2, math.sqrt(2), 0, -math.sqrt(2), -2)),
        ("piecewise:0.25=2,0.5=1,1=0", (2, 2, 1, 0.5, 0)),
        ("piecewise:0.5=1", (1, 1, 1, 1, 1)),
        ("steps:0=2,0.5=1,0.75=-1", (2, 2, 1, -1, -1)),
        ("steps:0.25=1,1=0", (1, 1, 1, 1, 0)),
    ],
)
def test_values(spelling, values):
    schedule = parse_alpha(spelling)
    assert [schedule.at(i / 4) for i in range(5)] == pytest.approx(values)
    assert all(type(schedule.at(i / 4)) is float for i in range(5))
    assert schedule.at(-1) == pytest.approx(values[0])
    assert schedule.at(2) == pytest.approx(values[-1])
    assert min(schedule.values) <= min(values)
    assert max(schedule.values) >= max(values)


def test_geometric_steps_by_ratios():
    schedule = parse_scale("geometric:8:2")
    assert [schedule.at(i / 2) for i in range(3)] == pytest.approx([8, 4, 2])


def test_ends_are_exact():
    """Alpha 0 and 2 have closed forms, which a rounding would miss."""
    for spelling in ("linear:2:0", "cosine:2:0", "piecewise:0=2,1=0"):
        assert (parse_alpha(spelling).at(0), parse_alpha(spelling).at(1)) == (2, 0)


@pytest.mark.parametrize("steps", [16, 48, 64, 160, 800])
def test_gnc_changes_alpha_every_sixteenth_and_holds_the_last(steps):
    expected = [GNC[min(slot, 12)] for slot in range(16) for _ in range(steps // 16)]
    assert [Gnc().at(step / steps) for step in range(steps)] == expected
    assert Gnc().at(1) == -32
    assert len(GNC) == 13


@pytest.mark.parametrize(
    ("spelling", "says"),
    [
        ("", "none of fixed, linear, cosine, piecewise, steps, gnc, adaptive"),
        ("lienar:2:0", "none of"),
        ("geometric:2:1", "none of"),
        ("fixed", "1 number after"),
        ("fixed:a", "1 number"),
        ("fixed:nan", "1 number"),
        ("linear:2", "2 numbers"),
        ("linear:2:0:1", "2 numbers"),
        ("linear:2:-inf", "infinite"),
        ("linear:2:-1e39", "infinite"),
        ("gnc:3", "no numbers"),
        ("piecewise:", "POSITION=VALUE"),
        ("piecewise:0=2,1", "POSITION=VALUE"),
        ("piecewise:0=2,0=1", "must rise"),
        ("steps:2", "steps takes points POSITION=VALUE"),
        ("piecewise:0=2,2=1", "between 0 and 1"),
        ("adaptive", "2 or 3 numbers"),
        ("adaptive:-1:2", "likelihood"),
        ("adaptive:2:0", "likelihood"),
        ("adaptive:0:inf", "likelihood"),
        ("adaptive:0:2:2", "start"),
    ],
)
def test_refused_alphas_say_value_reason_and_remedy(spelling, says):
    with pytest.raises(UserError, match=says) as refusal:
        parse_alpha(spelling)
    assert refusal.value.value == f"alpha = {spelling}"
    assert refusal.value.remedy


def test_an_alpha_beyond_float32_is_infinite():
    assert parse_alpha("-1e308") == parse_alpha("fixed:-inf")


@pytest.mark.parametrize(
    "spelling",
    [
        "fixed:0",
        "fixed:-1",
        "fixed:inf",
        "fixed:1e39",
        "fixed:1e-39",
        "linear:1:0",
        "gnc",
        "adaptive:0:2",
        "adaptive:0",
        "piecewise:0=0",
    ],
)
def test_refused_scales(spelling):
    with pytest.raises(UserError) as refusal:
        parse_scale(spelling)
    assert refusal.value.value.startswith("scale = ")
