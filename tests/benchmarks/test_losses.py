"""Forward and backward of the robust loss, beside smooth L1 and Eq. 8 as one would type it, in the same process."""

import json
import statistics
import subprocess
import sys

import pytest

from tests.benchmarks.losses import BASE, IMAGES, RESIDUALS

SCALAR_TARGET, ADAPTIVE_TARGET = 2.5, 6.0
"""At most so many times smooth L1: alpha a number; alpha and scale learnt for every coefficient."""
TITLES = {"residuals": f"{RESIDUALS:,} residuals", "images": f"{IMAGES[0]} images of 3 x 128 x 128"}


@pytest.mark.parametrize("kind", TITLES)
def test_time_beside_smooth_l1(kind, capsys):
    ran = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.losses", kind], capture_output=True, text=True, timeout=900
    )
    assert ran.returncode == 0, ran.stderr
    measured = json.loads(ran.stdout)
    rounds = measured["rounds"]
    how = f"medians of {len(rounds)} rounds, {measured['threads']} threads"
    lines = [f"\n{TITLES[kind]:40} {'ms':>8} {'/ ' + BASE:>12}   {how}"]
    for name in rounds[0]:
        ms = statistics.median(times[name] for times in rounds)
        ratio = statistics.median(times[name] / times[BASE] for times in rounds)
        target = SCALAR_TARGET if name.startswith("rho, alpha =") else ADAPTIVE_TARGET if "adaptive" in name else None
        verdict = "" if target is None else f"   {'MISSED' if ratio > target else 'met'}: at most {target}"
        lines.append(f"{name:40} {ms:8.1f} {ratio:12.2f}{verdict}")
    with capsys.disabled():
        print("\n".join(lines))
