"""The work of test_losses.py, in a process without the type checks of tests, which cannot be compiled.

``python -m tests.benchmarks.losses residuals|images`` prints milliseconds of each contestant in each round, as JSON.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from aign.losses.adaptive import AdaptiveLoss
from aign.losses.density import Density
from aign.losses.representations import parse_representation
from aign.losses.robust import rho
from aign.losses.schedules import AdaptiveAlpha, AdaptiveScale

RESIDUALS = 10_000_000
IMAGES = (32, 3, 128, 128)
ROUNDS = 9
BASE = "smooth L1"

Loss = Callable[[Tensor], Tensor]


def smooth_l1(x: Tensor) -> Tensor:
    return smooth_l1_loss(x, torch.zeros_like(x), reduction="sum")


def typed(x: Tensor, alpha: float | Tensor) -> Tensor:
    """Eq. 8 as one would type it."""
    bend = abs(alpha - 2)
    return (bend / alpha * ((x.square() / bend + 1) ** (alpha / 2) - 1)).sum()


def of_residuals() -> tuple[Tensor, dict[str, Loss]]:
    learnt, density = torch.tensor(0.5, requires_grad=True), Density()
    return torch.randn(RESIDUALS).mul_(3), {
        "Eq. 8 as typed, alpha = 0.5": lambda x: typed(x, 0.5),
        "Eq. 8 as typed, alpha learnt": lambda x: typed(x, learnt),
        **{f"rho, alpha = {alpha:g}": lambda x, alpha=alpha: rho(x, alpha).sum() for alpha in (0.5, 1.0, 0.0, -2.0)},
        "rho, alpha learnt": lambda x: rho(x, learnt).sum(),
        "likelihood, alpha learnt": lambda x: density.nll(x, learnt).sum(),
    }


def of_images() -> tuple[Tensor, dict[str, Loss]]:
    wavelets = parse_representation("yuv+wavelet:5")
    learnt = AdaptiveLoss(IMAGES[1:], each="coefficient", alpha=AdaptiveAlpha(0, 2, 1), scale=AdaptiveScale(0.1))
    return torch.randn(IMAGES).mul_(0.1), {
        "YUV wavelets alone": lambda x: wavelets(x).sum(),
        "adaptive, each coefficient": lambda x: learnt(x).sum(),
        "adaptive, each YUV wavelet": lambda x: learnt(wavelets(x)).sum(),
    }


def milliseconds(loss: Loss, x: Tensor) -> float:
    x.grad = None
    started = time.perf_counter()
    loss(x).backward()
    return 1000 * (time.perf_counter() - started)


def main(kind: str) -> None:
    torch.manual_seed(0)
    x, losses = {"residuals": of_residuals, "images": of_images}[kind]()
    x.requires_grad_()
    losses = {BASE: smooth_l1, **losses}
    if shutil.which("g++"):
        losses |= {f"{name}, compiled": torch.compile(loss, dynamic=False) for name, loss in losses.items()}
    rounds = [{name: milliseconds(loss, x) for name, loss in losses.items()} for _ in range(ROUNDS + 1)]
    print(json.dumps({"rounds": rounds[1:], "threads": torch.get_num_threads()}))  # the first one compiles


if __name__ == "__main__":
    main(*sys.argv[1:])
