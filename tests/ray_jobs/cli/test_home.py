"""A process without a home, as containers start it: an unknown user, HOME missing or not to be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aign.data import cache
from aign.data.cache import CacheError, local_cache
from ray_jobs.cli import home
from ray_jobs.cli.home import KEPT, ensure_home
from ray_jobs.cli.outputs import OutputFile


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path):
    for name in ["HOME", *KEPT]:
        monkeypatch.setenv(name, "")  # so that it is as it was afterwards
        monkeypatch.delenv(name)
    monkeypatch.setattr(home.tempfile, "gettempdir", lambda: str(tmp_path))


@pytest.fixture
def unknown_user(monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: os.environ.get("HOME", "~"))


def test_a_home_that_can_be_written_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    ensure_home()
    assert os.environ["HOME"] == str(tmp_path)


@pytest.mark.parametrize("named", [None, "/nonexistent"])
def test_without_one_there_is_a_private_one(named, unknown_user, tmp_path, monkeypatch):
    if named:
        monkeypatch.setenv("HOME", named)
    ensure_home()
    own = Path(os.environ["HOME"])
    assert own.parent == tmp_path
    assert own.stat().st_mode & 0o777 == 0o700
    monkeypatch.delenv("HOME")
    ensure_home()  # in another process
    assert Path(os.environ["HOME"]) == own


def test_what_somebody_else_has_put_there_is_not_taken(unknown_user, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"aign-home-{os.geteuid()}").symlink_to(tmp_path / "elsewhere")
    ensure_home()
    assert not Path(os.environ["HOME"]).is_symlink()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_keys_in_a_home_that_cannot_be_written_are_still_found(tmp_path, monkeypatch):
    before = tmp_path / "before"
    for file in KEPT.values():
        (before / file).parent.mkdir(parents=True, exist_ok=True)
        (before / file).write_text("secret")
    monkeypatch.setenv("HOME", str(before))
    access = os.access
    monkeypatch.setattr(os, "access", lambda place, mode: access(place, mode) and not (mode & os.W_OK))
    ensure_home()
    assert os.environ["HOME"] != str(before)
    assert {name: os.environ[name] for name in KEPT} == {name: str(before / file) for name, file in KEPT.items()}


def test_every_command_has_one():
    code = "import ray_jobs, os; print(os.environ['HOME'])"
    said = subprocess.run([sys.executable, "-c", code], env={"HOME": "/nonexistent"}, capture_output=True, text=True)
    assert Path(said.stdout.strip()).is_dir(), said.stderr


def test_the_library_asks_for_one_in_one_line(monkeypatch):
    def no_home(name):
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(cache, "user_cache_path", no_home)
    monkeypatch.delenv("AIGN_CACHE")
    with pytest.raises(CacheError):
        local_cache()


def test_the_home_of_nobody_is_a_folder_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    OutputFile("~no-such-user/a.json").write(b"{}")
    assert (tmp_path / "~no-such-user/a.json").read_bytes() == b"{}"
