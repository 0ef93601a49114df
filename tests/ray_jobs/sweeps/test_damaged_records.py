"""Records of trials that no sweep wrote: left out of its page, or drawn as they are."""

import json

import pytest

from aign.storage.store import Store
from ray_jobs.reports.plots import as_png
from ray_jobs.sweeps.plan import plan
from ray_jobs.sweeps.plots import against_each_option, parallel_coordinates
from ray_jobs.sweeps.trial_log import Record, read_records

PATH = [{"run": "trials/000/0", "values": {"alpha": "fixed:1"}, "step": 0, "clock": 0}]


@pytest.mark.parametrize("path", [[1], [{"run": 1}], [{**PATH[0], "values": 3}], {"run": "x"}])
def test_a_path_of_another_shape_is_skipped_and_told(tmp_path, path):
    folder = tmp_path / "trials" / "000"
    folder.mkdir(parents=True)
    (folder / "trial.json").write_text(json.dumps({"trial": 0, "point": {}, "path": path}))
    told = []
    assert read_records(Store(str(tmp_path)), told.append) == []
    assert [str(damage.value) for damage in told] == [f"{tmp_path}/trials/000/trial.json"]


@pytest.mark.filterwarnings("error")  # numpy and matplotlib warn, and leave the points out
@pytest.mark.parametrize("draw", [against_each_option, parallel_coordinates])
def test_a_value_that_a_logarithmic_range_cannot_hold_is_drawn_all_the_same(tmp_path, draw):
    space = ["--space", "reprojection_weight={log:0.1:10}", "--trials", "2", "--storage", str(tmp_path)]
    sweep = plan(["pose", "--workers", "0", "--search", "random", *space])
    records = [
        Record(
            trial=trial,
            point={"reprojection_weight": 0, "reprojection_weight.0.0": value},
            path=[{**PATH[0], "values": {"reprojection_weight": str(value)}}],
            status="finished",
            objective=1.0 + trial,
            metrics={sweep.metric: 1.0 + trial},
        )
        for trial, value in enumerate([0.0, -1.0])
    ]
    assert as_png(draw(sweep, records)).startswith(b"\x89PNG")
