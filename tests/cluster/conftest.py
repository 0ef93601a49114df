"""The files of clusters, as their readers see them."""

from pathlib import Path

import pytest
import yaml

CLUSTER = Path(__file__).parents[2] / "cluster"


@pytest.fixture
def read():
    """Reads a YAML file of the folder ``cluster``."""
    return lambda name: yaml.safe_load((CLUSTER / name).read_text())


@pytest.fixture(scope="session")
def folder():
    """The folder ``cluster``."""
    return CLUSTER
