"""DeepSpeed's engines at every ZeRO stage beside plain PyTorch on the device: the engine matrix with one worker."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from ray_jobs.worker.deepspeed_engine import import_deepspeed
from tests.gpu.parts import Check, Place, Verdict
from tests.ray_jobs.worker.engine_matrix import MOMENTS, WEIGHTS, Result, labels
from tests.ray_jobs.worker.engine_worker import CASES, PLAIN, ROUNDED, train_all

BOUND = 1e-5
"""Of the weights' distance from plain PyTorch's, in parts of their length; where one rounding error is carried further
than a third of that, three times as far."""
HALF_BOUND = 0.05
"""Of loss terms, which are around one, in half precision."""


def equality(place: Place) -> Iterator[Check]:
    """Case by case: all ZeRO stages, and changes from one to another, beside plain PyTorch."""
    import_deepspeed(place.device)  # which begins the process group that the plain engine's cases need too
    with TemporaryDirectory() as scratch:
        for case in ["recompute, offload"] if place.small else CASES:
            stages = [label.removeprefix("stage ") for label in labels(1, case)]
            yield f"{case}: ZeRO {', '.join(stages)}", partial(_compared, place, Path(scratch), case)


def _compared(place: Place, scratch: Path, case: str) -> Verdict:
    train_all(scratch, "quick", place.device.type, [case])
    plain, rounded = (Result(scratch / case / label) for label in (PLAIN, ROUNDED))
    arms = [Result(scratch / case / label) for label in labels(1, case)]
    if "precision" in CASES[case]:
        gaps = [arm.loss_gap(plain) for arm in arms]
        return max(gaps) <= HALF_BOUND, f"losses {max(gaps):.1e} (at most {HALF_BOUND})"
    far, moments = (max(arm.distance(plain, kinds) for arm in arms) for kinds in (WEIGHTS, MOMENTS))
    one_rounding = rounded.distance(plain, WEIGHTS)
    bound = max(BOUND, 3 * one_rounding)
    alike = all(arm.decides_like(plain) for arm in arms)
    decisions = "same decisions" if alike else "OTHER DECISIONS"
    figure = f"weights {far:.1e} (at most {bound:.0e}; one rounding error {one_rounding:.0e}), moments {moments:.0e}"
    return alike and far <= bound, f"{figure}, {decisions}"
