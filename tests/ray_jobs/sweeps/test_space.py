"""Spaces: spellings, points that any process draws alike, exploration, refusals."""

import math

import numpy as np
import pytest

from aign.errors import UserError
from aign.losses.schedules import parse_alpha
from ray_jobs.sweeps.space import Range, Space

ENTRIES = ["alpha=fixed:{-2:2}|linear:2:{-4:1}|gnc", "generator-lr={log:1e-4:1e-2}", "num_blocks={int:1:3}"]


@pytest.fixture
def space():
    return Space.read(ENTRIES)


def test_random_points_are_different_valid_and_a_pure_function_of_the_seed(space):
    points = space.samples(0, 200)
    assert points == Space.read(ENTRIES).samples(0, 200)
    assert points[:50] == space.samples(0, 50)
    assert points != space.samples(1, 200)
    values = [space.values(point) for point in points]
    assert len({tuple(value.items()) for value in values}) == 200
    alphas = [value["alpha"] for value in values]
    assert all(str(parse_alpha(alpha)) for alpha in alphas)
    assert {alpha.split(":")[0] for alpha in alphas} == {"fixed", "linear", "gnc"}
    rates = [float(value["generator_lr"]) for value in values]
    assert min(rates) >= 1e-4
    assert max(rates) <= 1e-2
    assert abs(np.mean(np.log10(rates)) + 3) < 0.15  # uniform in the logarithm
    assert {value["num_blocks"] for value in values} == {"1", "2", "3"}


def test_a_space_with_few_points_gives_them_all_once():
    space = Space.read(["alpha=gnc|fixed:1", "seed=0|1|2"])
    assert len(space.samples(0, 50)) == 6
    grid = [tuple(space.values(point).values()) for point in space.grid(100)]
    assert grid == [(alpha, seed) for alpha in ("gnc", "fixed:1") for seed in "012"]


def test_a_file_and_the_command_line_together(tmp_path):
    file = tmp_path / "space.toml"
    file.write_text('alpha = ["fixed:{-2:2}", "gnc"]\nnum-blocks = 2\n')
    space = Space.read(["seed=0|1"], file)
    assert space.to_json() == {"alpha": ["fixed:{-2:2}", "gnc"], "num_blocks": ["2"], "seed": ["0", "1"]}


@pytest.mark.parametrize("interval", [Range(-2, 2), Range(1e-4, 1e-2, "log"), Range(1, 9, "int")])
def test_exploring_stays_inside_and_goes_both_ways(interval):
    rng = np.random.default_rng(0)
    middle = math.sqrt(interval.low * interval.high) if interval.kind == "log" else (interval.low + interval.high) / 2
    found = [interval.explore(middle, rng) for _ in range(400)]
    assert interval.low <= min(found)
    assert max(found) <= interval.high
    near = [value for value in found if abs(abs(interval.to_unit(value) - 0.5) - 0.2) < 0.06]
    assert len(near) > 250
    assert 0.3 < np.mean([value > middle for value in near]) < 0.7
    assert all(interval.low <= interval.explore(end, rng) <= interval.high for end in (interval.low, interval.high))


def test_exploring_a_point_moves_the_numbers_that_it_uses_only(space):
    point = next(p for p in space.samples(0, 50) if space.values(p)["alpha"].startswith("linear"))
    explored = space.explore(point, np.random.default_rng(1))
    assert explored.keys() == point.keys()
    assert explored["alpha"] == point["alpha"]
    assert explored["alpha.1.0"] != point["alpha.1.0"]


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([], "nothing to search"),
        (["alpha"], "not OPTION=VALUES"),
        (["alpha="], "not OPTION=VALUES"),
        (["alpha=gnc", "alpha=fixed:1"], "twice"),
        (["alpha=fixed:{1}"], "not a range"),
        (["alpha=fixed:{a:b}"], "not a range"),
        (["alpha=fixed:{lin:1:2}"], "not a range"),
        (["alpha=fixed:{2:1}"], "up to a larger"),
        (["alpha=fixed:{0:inf}"], "up to a larger"),
        (["lr={log:0:1}"], "logarithm"),
        (["n={int:1:2.5}"], "whole numbers"),
        (["alpha=gnc|"], "without a value"),
        (["alpha=gnc|fixed:1|gnc"], "gnc twice"),
        (["seed=" + "|".join(map(str, range(5000)))], "5,000 alternatives"),
    ],
)
def test_refusals(entries, says):
    with pytest.raises(UserError, match=says):
        Space.read(entries)


def test_corners_are_the_ends_of_all_ranges_together_and_of_each_alone():
    space = Space.read(["alpha=piecewise:0={-2:2},1={0:1}|gnc", "n={int:4:8}"])
    first, second = space.options["alpha"]
    ends = [("-2", "0"), ("2", "1"), ("-2", "0.5"), ("2", "0.5"), ("0", "0"), ("0", "1")]
    assert set(first.corners) == {f"piecewise:0={a},1={b}" for a, b in ends}
    assert second.corners == ["gnc"]
    assert space.options["n"][0].corners == ["4", "8", "5"]


def test_a_space_knows_its_size_and_as_many_points_are_drawn():
    assert Space.read(["alpha=gnc|fixed:1", "n={int:1:3}|7"]).size == 8
    assert len(Space.read(["alpha=gnc|fixed:1", "n={int:1:3}|7"]).samples(0, 10**9)) == 8
    assert Space.read(["alpha=fixed:{0:1}"]).size == math.inf


def test_a_large_whole_number_is_spelled_whole():
    assert Space.read(["n={int:1:5000001}"]).options["n"][0].spelled([5000001]) == "5000001"


@pytest.mark.parametrize("text", ["alpha = []", "[alpha]\nx = 1", "alpha = [[1]]"])
def test_a_file_without_values_is_refused(tmp_path, text):
    (tmp_path / "space.toml").write_text(text)
    with pytest.raises(UserError, match="alpha"):
        Space.read([], tmp_path / "space.toml")


@pytest.mark.parametrize("content", [None, b"\xff", b"alpha =", b"alpha = " + b"[" * 50_000 + b"]" * 50_000])
def test_a_file_that_cannot_be_read_is_refused(content, tmp_path):
    file = tmp_path / "space.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError) as refused:
        Space.read([], file)
    assert refused.value.value == f"--space-file {file}"


def test_a_grid_of_ranges_is_refused(space):
    with pytest.raises(UserError, match="no end of values"):
        space.grid(100)
