"""The command: the page that fits what a folder is, on disk and in an object store; what is refused."""

import uuid

import pytest

from aign.storage.store import Store
from ray_jobs import report, train


@pytest.fixture(scope="module")
def runs(tiny_argv, tmp_path_factory):
    """A folder with two finished runs."""
    storage = tmp_path_factory.mktemp("runs")
    for name, lr in (("slow", "1e-4"), ("fast", "1e-3")):
        place = ["--workers", "0", "--storage", str(storage), "--name", name]
        train.command(["pose", *tiny_argv, *place, "--generator-lr", lr])
    return storage


def page_of(folder, tmp_path, *options):
    report.command([str(folder), "--out", str(tmp_path / "pages/page.html"), *options])
    return (tmp_path / "pages/page.html").read_text()


def test_a_run_has_a_page(runs, tmp_path, capsys):
    page = page_of(runs / "fast", tmp_path, "--price-per-worker-hour", "2")
    assert "<title>fast</title>" in page
    assert "torso aligned mm" in page
    assert "at 2 a worker-hour" in page
    assert f"report: {tmp_path}/pages/page.html" in capsys.readouterr().out


def test_several_runs_are_compared_whatever_else_lies_there(runs, tmp_path):
    Store(runs).write("alphas/sweep.json", b"{}")
    page = page_of(runs, tmp_path)
    assert "where their options differ" in page
    assert "generator lr" in page
    assert "not part of this page: alphas" in page


def test_a_folder_with_one_run_is_that_run(runs, tmp_path):
    Store(runs / "fast").download("", tmp_path / "only/fast")
    assert page_of(tmp_path / "only", tmp_path) == page_of(tmp_path / "only/fast", tmp_path)


def test_a_run_in_an_object_store_has_the_same_page(runs, object_store, tmp_path):
    stored = Store(f"{object_store.bucket}/{uuid.uuid4().hex}/fast")
    for path in (runs / "fast").rglob("*"):
        if path.is_file():
            stored.upload(path, str(path.relative_to(runs / "fast")))
    ours, local = page_of(stored.uri, tmp_path), page_of(runs / "fast", tmp_path)
    assert ours.replace(stored.uri, "") == local.replace(str(runs / "fast"), "")


@pytest.mark.parametrize(
    ("files", "options", "expected"),
    [
        ((), (), "is neither a run, nor a sweep, nor a folder with runs"),
        (("a/notes.txt",), (), "is neither a run, nor a sweep, nor a folder with runs"),
        (("alphas/sweep.json",), (), "report on one of its sweeps (alphas)"),
        (("sweep.json",), (), "sweep.json: is not what was expected"),
        (("config.json",), ("--price-per-worker-hour", "-1"), "price_per_worker_hour = -1"),
        (("config.json",), ("--prize", "1"), "did you mean"),
    ],
)
def test_refused_in_one_line(files, options, expected, tmp_path, refused):
    for file in files:
        Store(tmp_path / "folder").write(file, b"{}")
    assert expected in refused(report.command, tmp_path / "folder", *options, "--out", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
