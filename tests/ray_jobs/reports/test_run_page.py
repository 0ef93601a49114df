"""The page of one run holds what its folder does."""

import re

import pytest

from ray_jobs.reports.run_page import run_page
from ray_jobs.reports.stored import read_run


@pytest.fixture
def text():
    """A page's words, without its tags, pictures and style."""

    def text(page):
        page = re.sub(r"<style>.*?</style>", "", page, flags=re.S)
        return " ".join(re.sub(r"<[^>]*>", " ", page).split())

    return text


def test_it_says_what_was_measured_and_what_it_cost(interrupted, text):
    found = text(run_page(read_run(interrupted), price=100.0))
    assert found.count("finished after 40 steps") == 1
    assert "Measured on generated bodies, validation split, 64 samples." in found
    assert "torso aligned mm 80.0 120.0" in found
    assert "0.04 worker-hours" in found
    assert "0.02 GPU-hours" in found
    assert "4.00 at 100 a worker-hour" in found
    assert "1 1970-01-01 00:00 36 s 2 0 1 0 to 30 0.02" in found
    assert "An attempt that has not ended counts up to its last metrics." in found
    for words in ("step 20", "step 40", "self-supervised to step 40", "batch_size 128"):
        assert words in found


def test_it_needs_nothing_beside_itself(interrupted):
    page = run_page(read_run(interrupted), price=None)
    assert page.count("data:image/png;base64,") == 2
    assert page.count("data:image/svg+xml;base64,") == 3
    assert set(re.findall(r'(?:src|href)="?(.{5})', page)) == {"data:"}
    assert not re.search(r"url\(|@import|<script|<link|https?://", page)
    assert "cost at" not in page


def test_a_run_that_has_only_begun_has_a_page(tmp_path, write_run, text):
    found = text(run_page(read_run(write_run(tmp_path / "run", ({"began": 0.0}, []))), price=None))
    assert "0 steps" in found
    assert "none begun" in found
