"""Time and bytes of our adversarial step on DeepSpeed, beside two hand-written loops in the same two processes."""

import json
import statistics

import pytest

from aign.data.faces import generated_faces
from aign.data.image_streams import as_floats
from aign.evaluation.face_picture import write_images
from tests.benchmarks.contestants import OWN_ORDER, TEXTBOOK, ZERO_STAGES, stage_name
from tests.benchmarks.processes import NUM_WORKERS, run_workers
from tests.benchmarks.traffic import least_bytes

TARGETS = {0: (1.00, 1.05), 1: (1.00, 1.05), 2: (1.10, 1.15)}
"""By ZeRO stage: at most so many times the step of the textbook's loop, and of the loop in our order."""
SAME = 10.0
"""Losses differ by at most so many times what one rounding error of every weight makes of the textbook's loop."""
DATA_TARGET = 0.03
"""Loading a batch may take so much of a step."""
NUM_IMAGES = 600


@pytest.fixture(scope="module", params=["pose", "superres"])
def measured(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "superres":
        (folder / "images").mkdir()
        names = [str(i) for i in range(NUM_IMAGES)]
        write_images(as_floats(generated_faces(NUM_IMAGES, 0).pixels), folder / "images", names)
        (folder / "images/grid.png").unlink()
    run_workers("tests.benchmarks.step_worker", folder, request.param)
    return {"task": request.param, **json.loads((folder / "measured.json").read_text())}


def test_all_contestants_do_the_same_work(measured):
    expected = measured["losses"][TEXTBOOK]
    floor = SAME * apart(measured["rounded"], expected)
    assert {who: gap for who, losses in measured["losses"].items() if (gap := apart(losses, expected)) > floor} == {}
    assert max(measured["apart"].values()) == 0


def test_step_time(measured, capsys):
    rounds = measured["rounds"]
    lines = [
        f"{'step of ' + measured['task']:24} {'ms':>7} {'/ textbook':>11} {'/ our order':>12} {'CPU ms':>8}"
        f"   medians of {len(rounds)} rounds"
    ]
    for who in rounds[0]:
        ratios = [ratio(rounds, who, base) for base in (TEXTBOOK, OWN_ORDER)]
        wall, cpu = (statistics.median(measured[who][kind] for measured in rounds) for kind in ("wall", "cpu"))
        lines.append(f"{who:24} {wall:7.1f} {ratios[0]:11.2f} {ratios[1]:12.2f} {cpu:8.1f}   {verdict(who, ratios)}")
        if who == stage_name(1):
            speed = 1000 * measured["batch_size"] / NUM_WORKERS / wall
            share = measured["data"] / wall
    kept = "MISSED" if share > DATA_TARGET else "met"
    lines.append(f"stage 1: {speed:.0f} samples a second and worker; data {share:.1%} ({kept}: {DATA_TARGET:.0%})")
    show(lines, capsys)


def test_bytes_sent(measured, capsys):
    count = measured["num_parameters"]
    lines = [f"{'sent by ' + measured['task']:24} {'MiB':>7} {'/ least':>11}   calls; {count / 1e6:.2f}M parameters"]
    for who, counted in measured["traffic"].items():
        sent, calls = sum(counted["sent"].values()), counted["calls"]
        least = least_bytes(count, int(who[-1]) if who[-1].isdigit() else 0, NUM_WORKERS)
        said = ", ".join(f"{number} {name}" for name, number in calls.items())
        lines.append(f"{who:24} {sent / 2**20:7.2f} {sent / least:11.2f}   {said}")
    show(lines, capsys)


def apart(losses: list[float], expected: list[float]) -> float:
    """The largest relative difference of a loss term."""
    return max(abs(a - b) / abs(b) for a, b in zip(losses, expected, strict=True))


def ratio(rounds: list[dict[str, dict[str, float]]], who: str, base: str) -> float:
    """The median of ratios within a round: what else the machine does then slows both."""
    return statistics.median(measured[who]["wall"] / measured[base]["wall"] for measured in rounds)


def verdict(who: str, ratios: list[float]) -> str:
    targets = {stage_name(stage): TARGETS.get(stage) for stage in ZERO_STAGES}.get(who)
    if targets is None:
        return ""
    missed = any(measured > target for measured, target in zip(ratios, targets, strict=True))
    return f"{'MISSED' if missed else 'met'}: at most {targets[0]:.2f} and {targets[1]:.2f}"


def show(lines: list[str], capsys: pytest.CaptureFixture) -> None:
    with capsys.disabled():
        print("\n" + "\n".join(lines))
