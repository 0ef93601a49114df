"""``make gpu`` as a dry run on the CPU: its table, its status, and parts that fail or take too long."""

import threading

import pytest
import torch

from tests.gpu.__main__ import main
from tests.gpu.parts import PARTS, Part, run_parts
from tests.gpu.table import Row, as_markdown

CPU = torch.device("cpu")


def test_parts_run_on_a_cpu_and_are_written_down(tmp_path, capsys):
    out = tmp_path / "gpu.md"
    assert main(["--device", "cpu", "--parts", "precision", "--out", str(out)]) == 0
    text = out.read_text()
    assert text in capsys.readouterr().out
    assert f"- torch: {torch.__version__}" in text
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")][2:]
    assert {row[0] for row in rows} == {"precision"}
    assert len(rows) == 4
    assert {row[2] for row in rows} == {"passed"}


def test_every_part_has_its_function():
    for part in PARTS.values():
        module, _, function = part.where.partition(":")
        assert callable(getattr(pytest.importorskip(module), function))


def checks(place):
    yield "what holds", lambda: (True, "0.0")
    yield "what does not", lambda: (False, "1.0")
    yield "what breaks", lambda: 1 / 0
    yield "what is only measured", lambda: (None, "2 samples/s")


def endless(place):
    yield "what never ends", lambda: threading.Event().wait()


def broken(place):
    yield "what holds", lambda: (True, "0.0")
    raise OSError("no such library")


HERE = "tests.test_gpu"


def test_what_breaks_is_a_row_and_the_rest_is_still_done():
    parts = {name: Part(f"{HERE}:{name}", 120) for name in ("broken", "checks")}
    rows = list(run_parts(parts, CPU, 600))
    assert [(row.part, row.passed) for row in rows] == [
        ("broken", True),
        ("broken", False),
        *(("checks", passed) for passed in (True, False, False, None)),
    ]
    assert rows[4].figure == "ZeroDivisionError: division by zero"


def test_a_part_that_takes_too_long_is_ended_and_others_know_how_long_is_left():
    rows = run_parts({"endless": Part(f"{HERE}:endless", 3), "checks": Part(f"{HERE}:checks", 3)}, CPU, 3)
    assert [(row.part, row.passed, row.figure) for row in rows] == [
        ("endless", False, "its 3 s were over"),
        ("checks", False, "no time was left"),
    ]


def test_a_failed_row_is_the_status(monkeypatch):
    for passed, status in ((True, 0), (None, 0), (False, 1)):
        monkeypatch.setattr("tests.gpu.__main__.run_parts", lambda *_, p=passed: [Row("part", "a and b", p, "")])
        assert main(["--device", "cpu"]) == status


def test_a_gpu_that_is_not_there_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "device = cuda" in capsys.readouterr().err


def test_the_table_has_a_line_a_row():
    text = as_markdown([Row("speed", "a", None, "1"), Row("equality", "b", False, "2")], CPU, 3.0)
    assert text.endswith("| speed | a | - | 1 |\n| equality | b | FAILED | 2 |\n")
