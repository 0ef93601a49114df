"""Machines are set aside for runs by what those need, labels included, and the autoscaler is asked for just that."""

import pytest
from ray.data._internal.cluster_autoscaler.base_autoscaling_coordinator import ResourceRequestPriority

from ray_jobs import reservations
from ray_jobs.job import GIB, MARKET, Placement
from ray_jobs.reservations import Coordinator

LABELS = {"big": {}, "owned": {MARKET: "on-demand"}, "lent": {MARKET: "spot"}, "small": {MARKET: "spot"}}
GIBS = {"big": 64, "owned": 32, "lent": 16, "small": 2}


@pytest.fixture
def asked(monkeypatch):
    """What the autoscaler is asked for, the newest last."""
    asked = []
    monkeypatch.setattr(reservations, "_default_send_resources_request", lambda *what: asked.append(what))
    return asked


@pytest.fixture
def coordinator(asked, monkeypatch):
    """That of a cluster of four machines with two CPUs each."""
    nodes = [
        {"Alive": True, "NodeID": name, "Resources": {"CPU": 2.0, "memory": GIBS[name] * GIB}, "Labels": LABELS[name]}
        for name in LABELS
    ]
    monkeypatch.setattr(reservations.ray, "nodes", lambda: nodes)
    return Coordinator()


def machines(coordinator, name, num_workers, **needs):
    """Those that are set aside for a run, with how many of its workers each has room for."""
    place = Placement(**needs)
    coordinator.request_resources(
        requester_id=name,
        resources=[place.needs] * num_workers,
        label_selectors=[place.labels] * num_workers if place.labels else None,
        expire_after_s=100,
        priority=ResourceRequestPriority.HIGH,
    )
    reserved = coordinator.get_reserved_resources(name, recompute=True)
    return {machine: resources["CPU"] for machine, resources in reserved.items()}


def test_a_run_gets_machines_that_have_what_it_needs(coordinator):
    assert machines(coordinator, "any", 3) == {"big": 2, "owned": 1}
    assert machines(coordinator, "spot", 9, machines="spot") == {"lent": 2, "small": 2}
    assert machines(coordinator, "owned", 9, machines="on-demand") == {"owned": 1}


def test_a_run_that_waits_for_other_machines_keeps_nobody_from_these(coordinator):
    assert machines(coordinator, "spot", 9, machines="spot", memory_per_worker=8) == {"lent": 2}
    assert machines(coordinator, "any", 9) == {"big": 2, "owned": 2, "small": 2}


def test_the_autoscaler_is_asked_in_its_own_words(coordinator, asked):
    machines(coordinator, "any", 1)
    assert asked[-1] == ([{"CPU": 1}], None)
    machines(coordinator, "spot", 1, machines="spot", memory_per_worker=2)
    assert asked[-1] == ([{"CPU": 1}, {"CPU": 1, "memory": 2 * GIB}], [{}, {MARKET: "spot"}])


def test_what_another_program_asks_for_is_left_to_ray(coordinator, asked):
    selector = {MARKET: "in(spot,on-demand)", "zone": "a"}
    coordinator.request_resources("other", [{"CPU": 1}], label_selectors=[selector], expire_after_s=100)
    assert coordinator.get_reserved_resources("other") == {"big": {"CPU": 1}}
    assert asked[-1] == ([{"CPU": 1}], [selector])
