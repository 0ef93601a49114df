"""The library's own tests, on the device."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.aign.conftest import ON_THE_DEVICE
from tests.gpu.parts import Check, Place, Verdict
from tests.gpu.table import ROOT


def library(place: Place) -> Iterator[Check]:
    """Tests of what computes, folder by folder; tasks only in the test that runs each of them on a device."""
    tests = {"renderers"} if place.small else ON_THE_DEVICE | {"tasks/test_on_device.py"}
    for name in sorted(tests):
        yield f"tests/aign/{name}", partial(_tests, place, f"tests/aign/{name}")


def _tests(place: Place, path: str) -> Verdict:
    with TemporaryDirectory() as scratch:
        report = Path(scratch, "report.xml")
        command = [sys.executable, "-m", "pytest", path, "--device", place.device.type, f"--junitxml={report}"]
        ended = subprocess.run([*command, "-p", "no:cacheprovider"], cwd=ROOT, stdout=sys.stderr, check=False)
        counts = ElementTree.parse(report).getroot()[0].attrib
    broken, skipped = int(counts["failures"]) + int(counts["errors"]), int(counts["skipped"])
    passed = int(counts["tests"]) - broken - skipped
    return not ended.returncode, f"{passed} passed, {broken} failed, {skipped} skipped"
