"""What the drills on an autoscaled cluster (``make cluster-test``) rest on: what samples of its nodes tell."""

from string import Template

import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.clusters import samples
from tests.clusters.__main__ import events, figures
from tests.clusters.cluster import CONFIG, WORKER
from tests.clusters.picture import draw
from tests.clusters.samples import Event, Sample

LIFE = [
    Sample(0.0, {}),
    Sample(10.0, {"a": 0.0}),
    Sample(12.0, {"a": 1.0, "b": 1.0}),
    Sample(31.0, {"a": 1.0, "b": 1.0}),
    Sample(40.0, {"a": 1.0, "b": 1.0, "c": 0.0}),
    Sample(44.0, {"a": 1.0, "c": 1.0}),
    Sample(80.0, {"a": 0.0, "c": 0.0}),
    Sample(90.0, {"a": 0.0}),
    Sample(92.0, {}),
]
LINES = [
    {"step": step, "stage": "aign", "time": time, "attempt": attempt}
    for step, time, attempt in [(5, 20.0, 1), (10, 25.0, 1), (10, 50.0, 2), (15, 55.0, 2)]
]


def test_the_life_of_a_run_that_lost_a_node():
    seen = samples.life(LIFE, LINES, began=1.0, node="b", when=30.0, ended=70.0)
    assert {event.what: event.time for event in seen} == {
        "command": 1.0,
        "first node": 10.0,
        "all nodes": 12.0,
        "training": 20.0,
        "a node is killed": 30.0,
        "another node": 40.0,
        "the cluster counts it as gone": 44.0,
        "training again": 50.0,
        "job finished": 70.0,
        "nodes gone": 92.0,
    }
    assert [event.time for event in seen] == sorted(event.time for event in seen)


def test_what_did_not_happen_is_left_out():
    seen = samples.life(LIFE[:4], LINES[:2], began=1.0, node="b", when=30.0, ended=70.0)
    happened = ["command", "first node", "all nodes", "training", "a node is killed", "job finished"]
    assert [event.what for event in seen] == happened


def test_nodes_are_gone_only_after_the_job():
    assert samples.nodes_gone(LIFE, 0.0) == 0.0
    assert samples.nodes_gone(LIFE, 70.0) == 92.0
    assert samples.nodes_gone(LIFE[:-1], 70.0) is None


def test_changes_of_size():
    assert samples.sizes(LIFE) == [
        Event("1 node", 10.0),
        Event("2 nodes", 12.0),
        Event("3 nodes", 40.0),
        Event("2 nodes", 44.0),
        Event("1 node", 90.0),
        Event("0 nodes", 92.0),
    ]


def test_what_nodes_cost_and_were_used_for():
    assert samples.node_seconds(LIFE) == 2 * 1 + 28 * 2 + 4 * 3 + 36 * 2 + 10 * 2 + 2 * 1
    assert samples.busy_seconds(LIFE) == 28 * 2 + 4 * 2 + 36 * 2
    assert samples.idle_tail(LIFE) == 12.0
    assert samples.idle_tail(LIFE[:1]) == 0.0
    assert [row[3] for row in figures(LIFE)] == ["164.0", "136.0", "12.0", "83%"]


def test_a_line_that_is_still_being_written_is_not_read():
    assert samples.read(['{"time": 1.0, "used": {"a": 1.0}}\n', '{"time": 2.0, "us']) == [Sample(1.0, {"a": 1.0})]


def test_rows_count_from_the_first_event():
    assert events("sweep", [Event("command", 100.0), Event("1 node", 107.5), Event("2 nodes", 109.0)]) == [
        ("sweep", "command", "0.0", ""),
        ("sweep", "1 node", "7.5", "7.5"),
        ("sweep", "2 nodes", "9.0", "1.5"),
    ]


def test_nodes_are_drawn(tmp_path):
    draw(LIFE, [Event("command", 1.0)], tmp_path / "pictures" / "nodes.png")
    assert (tmp_path / "pictures" / "nodes.png").stat().st_size > 1000


def test_ray_takes_the_cluster():
    config = yaml.safe_load(Template(CONFIG.read_text()).substitute(gcs_address="127.0.0.1:1"))
    validate_config(prepare_config(config))
    assert config["provider"]["gcs_address"] == "127.0.0.1:1"
    assert config["available_node_types"][WORKER]["min_workers"] == 0
