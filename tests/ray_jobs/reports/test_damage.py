"""Whatever cannot be read of a run is left out, counted and named; all the rest is on the page."""

import json

import pytest

from aign.storage.store import Store
from ray_jobs import report
from ray_jobs.reports import comparison_page, page, run_page
from ray_jobs.reports.history import read_lines
from ray_jobs.reports.stored import read_run

BROKEN = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b'{"a"',
    b"\xff\xfe\x00",
    b"[" * 50_000,
    b'{"task": "pose", "metadata": null}',
    b'"x"',
]


@pytest.fixture
def runs(tmp_path, write_run, logged, evaluated):
    """A folder with three sound runs."""
    for name in ("a", "b", "c"):
        attempt = ({"began": 0.0, "ended": 36.0}, [logged(10, 1.0), evaluated(10, 90.0), logged(20, 0.5)])
        write_run(tmp_path / "runs" / name, attempt, finished=True, pictures=(10, 20))
    return tmp_path / "runs"


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without curves, which take most of the time."""
    for module in (comparison_page, run_page):
        monkeypatch.setattr(module, "small_multiples", lambda *_: None)
    monkeypatch.setattr(page, "plot", lambda *_: "")


def page_of(folder, tmp_path):
    report.command([str(folder), "--out", str(tmp_path / "page.html")])
    return (tmp_path / "page.html").read_text()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("config", BROKEN)
def test_a_damaged_or_foreign_folder_is_left_out_of_the_page_of_all_and_named(config, runs, tmp_path, capsys, refused):
    (runs / "b/config.json").write_bytes(config)
    found = page_of(runs, tmp_path)
    said = capsys.readouterr().out
    for name, is_there in (("a", True), ("b", False), ("c", True)):
        assert (f"</i>{name}<" in found) == is_there
    assert f"{runs}/b/config.json" in found
    assert f"{runs}/b/config.json" in said
    assert f"{runs}/b/config.json" in refused(report.command, runs / "b", "--out", tmp_path / "other.html")
    assert not (tmp_path / "other.html").exists()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("key", ["task", "preset", "options", "training", "placement", "versions", "metadata"])
@pytest.mark.parametrize("value", ["missing", None, [], 1])
def test_every_field_of_a_config_is_checked(key, value, runs, tmp_path, capsys):
    path = runs / "b/config.json"
    config = json.loads(path.read_text())
    if value == "missing":
        del config[key]
    else:
        config[key] = value
    path.write_text(json.dumps(config))
    page_of(runs, tmp_path)
    assert f"{path} " in capsys.readouterr().out


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("file", "content"),
    [
        *(("attempts/001.json", content) for content in [*BROKEN, b'{"workers": 2, "start_step": 0, "began": null}']),
        ("attempts/001.json", b'{"workers": 2, "start_step": 0, "began": NaN}'),
        *(("export/config.json", content) for content in BROKEN),
        ("pictures/step_0000020.png", b""),
        ("pictures/step_0000020.png", b"GIF89a"),
        *(("metrics/001-000009.jsonl", content) for content in BROKEN if content),
        ("metrics/001-000009.jsonl", b'{"time": 1, "step": 30, "stage": "a"}'),
        ("metrics/001-000009.jsonl", b'{"time": 1, "step": -1, "evaluation": {}}'),
    ],
)
def test_a_damaged_file_of_a_run_is_left_out_and_named(file, content, runs, tmp_path, capsys):
    (runs / "b" / file).write_bytes(content)
    for folder in (runs / "b", runs):
        found = page_of(folder, tmp_path)
        assert f"{runs}/b/{file}" in found
        assert f"{runs}/b/{file}" in capsys.readouterr().out
        assert "torso aligned mm" in found


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("file", ["attempts/abc.json", "pictures/x.png", "metrics/notes.txt"])
@pytest.mark.parametrize("content", BROKEN)
def test_what_a_page_needs_not_does_not_matter(file, content, runs, tmp_path, capsys):
    (runs / "b" / file).write_bytes(content)
    assert "finished" in page_of(runs / "b", tmp_path)
    assert "left out" not in capsys.readouterr().out


def test_a_line_that_a_crash_cut_short_is_all_that_is_lost(tmp_path, write_run, logged):
    run = write_run(tmp_path / "run", ({}, [logged(10, 1.0)]))
    whole = [json.dumps(logged(step, 1.0)).encode() for step in (20, 30, 40)]
    run.write("metrics/001-000001.jsonl", whole[0] + b"\n" + whole[1] + b"\n" + whole[2][:25])
    skipped = []
    assert [line["step"] for line in read_lines(run, skipped)[1]] == [10, 20, 30]
    assert [error.value for error in skipped] == [f"{run.uri}/metrics/001-000001.jsonl, line 3"]
    assert "remove" not in skipped[0].remedy


def test_values_that_no_run_writes_do_not_end_the_page(tmp_path, write_run, logged):
    huge = [logged(10, 1e308), logged(10, 1.0), logged(5, 1.0), logged(20, -1e308), logged(30, float("inf"))]
    run = write_run(tmp_path / "run", ({"began": 1e300, "ended": -1e300}, [*huge, logged(40, float("nan"))]))
    assert "<h1>run</h1>" in run_page.run_page(read_run(run), price=1.0)


def test_a_failed_run_is_called_failed_and_says_why(tmp_path, write_run, logged):
    record = {"began": 0.0, "ended": 9.0, "status": "failed", "reason": "loss term x: is nan at step 11"}
    run = read_run(write_run(tmp_path / "run", (record, [logged(10, 1.0)])))
    assert run.status()[0] == "failed"
    assert record["reason"] in run.status()[1]
    found = run_page.run_page(run, None)
    assert f"Attempt 1 failed: {record['reason']}" in found
    assert "goes on" not in found


def test_a_sweep_with_a_damaged_trial_has_a_page_of_the_others(tmp_path, refused):
    Store(tmp_path / "sweep").write("sweep.json", b"[" * 50_000)
    said = refused(report.command, tmp_path / "sweep", "--out", tmp_path / "page.html")
    assert f"{tmp_path}/sweep/sweep.json" in said
