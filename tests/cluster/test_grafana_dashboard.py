"""The dashboard shows exactly what the code exports, and has what Grafana needs to load it."""

import json
import re
from pathlib import Path

from ray_jobs.worker.gauges import GAUGES, OWN_TAG, TAGS

DASHBOARD = json.loads((Path(__file__).parents[2] / "cluster/grafana_dashboard.json").read_text())
PANELS = DASHBOARD["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
COLUMNS = 24


def test_it_asks_for_every_gauge_and_no_other():
    asked = {name for query in QUERIES for name in re.findall(r"ray_\w+", query)}
    assert asked == {f"ray_{name}" for name in GAUGES}


def test_it_selects_and_names_by_tags_that_are_exported():
    for panel in PANELS:
        for target in panel["targets"]:
            (name,) = re.findall(r"ray_(\w+)", target["expr"])
            tags = {*TAGS, OWN_TAG.get(name)}
            assert set(re.findall(r"(\w+)=~", target["expr"])) == set(TAGS)
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) == tags - {"task", None}


def test_its_variables_are_what_queries_use():
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    used = {name for query in QUERIES for name in re.findall(r"\$(\w+)", query)}
    assert variables.keys() == used | {"datasource"}
    for name in used:
        (metric, tag) = re.fullmatch(r"label_values\(ray_(\w+), (\w+)\)", variables[name]["query"]["query"]).groups()
        assert metric in GAUGES
        assert tag == name


def test_it_has_what_grafana_needs():
    assert DASHBOARD["title"]
    assert DASHBOARD["uid"]
    assert DASHBOARD["schemaVersion"] >= 36
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for panel in PANELS:
        assert panel["type"] in ("stat", "timeseries")
        assert panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert [target["refId"] for target in panel["targets"]] == ["A"]


def test_its_panels_do_not_overlap():
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in PANELS)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < COLUMNS
