"""Where real data lies."""

import os

import pytest

from aign.data.data_root import data_file
from aign.errors import UserError


@pytest.mark.parametrize("value", [None, ""])
def test_without_aign_data_the_remedy_says_what_to_set(value, monkeypatch):
    monkeypatch.delenv("AIGN_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("AIGN_DATA", value)
    with pytest.raises(UserError, match=r"AIGN_DATA: is not set; set it to the folder that holds cmu_mocap/a\.npz"):
        data_file("cmu_mocap", "a.npz")


def test_a_missing_file_and_a_present_one(monkeypatch, tmp_path):
    monkeypatch.setenv("AIGN_DATA", str(tmp_path))
    with pytest.raises(UserError, match="no such file"):
        data_file("cmu_mocap", "a.npz")
    (tmp_path / "a.npz").touch()
    assert data_file("a.npz") == tmp_path / "a.npz"
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(UserError, match="is a pipe"):
        data_file("pipe.npz")
