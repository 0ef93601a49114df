"""Image files made by the tests, and a cache that is theirs."""

import io

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Decoded images go here, not into the user's cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("AIGN_CACHE", str(folder))
    return folder


@pytest.fixture
def dotted():
    def dotted(width, height, dot, *, colour=(255, 0, 0), kind="JPEG", **options):
        """An image file: grey with noise, and a coloured square of 9 pixels around ``dot`` (x, y)."""
        pixels = np.random.default_rng(width * height).integers(100, 110, (height, width, 3)).astype(np.uint8)
        x, y = dot
        pixels[max(0, y - 4) : y + 5, max(0, x - 4) : x + 5] = colour
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind, **({"quality": 95} if kind == "JPEG" else {}), **options)
        return file.getvalue()

    return dotted
