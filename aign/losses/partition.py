"""The log partition function of Barron's distribution (CVPR 2019, Eq. 17), tabulated.

``python -m aign.losses.partition`` builds the table again and writes it beside this file. It holds log Z and its slope
at places that are crowded where log Z bends, towards alpha = 0, and where its slope grows without bound, as
log |alpha - 2|, towards alpha = 2; between them stand cubics.
"""

import math
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from aign.losses.robust import rho

Table = Float[Tensor, "3 knots"]
"""At knots equally far apart in ``_warp``: log Z in float32, what that rounds off, and the slope for each step.

Near alpha = 2 log Z changes by less from knot to knot than float32 rounds off.
"""

FILE = Path(__file__).with_name("partition.safetensors")
STEPS = 352
"""Between knots."""
NEAR_0, NEAR_2, REACH = 0.05, 1e-7, 6.0
"""How close to alpha = 0 and alpha = 2 knots go on getting denser, and how far from them they get rare."""


def log_partition(alpha: Float[Tensor, "*shape"], table: Table) -> Float[Tensor, "*shape"]:
    """log Z(alpha), Z the integral of exp(-rho(x, alpha, 1)) over all x; infinite for alpha < 0, where Z is.

    Falls from log(pi sqrt 2) = 1.4913 at 0 over log sqrt(2 pi) = 0.9189 at 2 to 0.7053 at infinity. In error by less
    than 1e-6 (float32) or 1e-7 (float64). The slope is in error by less than 1e-4 of itself at least 0.01 away from 2,
    and finite at 2 where the true one is not. Computed in alpha's type, float32 at least, without waiting for the
    device. ``table`` is :func:`read_table` where alpha is.
    """
    alpha = alpha.to(torch.promote_types(alpha.dtype, torch.float32))
    values, rests, slopes = table.to(alpha.dtype)
    defined = alpha >= 0
    place = (_warp(torch.where(defined, alpha, 0.0)) - _FIRST) * (STEPS / (_LAST - _FIRST))
    knot = place.detach().floor().clamp(0, STEPS - 1).long()
    t = place - knot
    # take: an index without dimensions is a number to Python, for which the host would wait
    (value, rest, start_slope), (next_value, next_rest, end_slope) = (
        [of_all.take(index) for of_all in (values, rests, slopes)] for index in (knot, knot + 1)
    )
    start, rise = value + rest, (next_value - value) + (next_rest - rest)
    # the cubic Hermite polynomial, as start + t (...) so that float32 rounds a small correction and not a large sum
    bent = t * (3 * rise - 2 * start_slope - end_slope + t * (start_slope + end_slope - 2 * rise))
    return torch.where(defined, start + t * (start_slope + bent), math.inf)


@cache
def read_table() -> Table:
    """The table that is shipped, on the CPU in float32."""
    return load_file(FILE)["log_partition"]


def exact_log_partition(alpha: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """log Z by quadrature, in float64, to about 1e-12; alpha >= 0, also inf. Autograd knows its slope.

    The trapezoid rule in v with x = sinh(pi/2 sinh v) converges exponentially, whatever the tail.
    """
    v = torch.linspace(-6.5, 6.5, 2001, dtype=torch.float64)
    steep = math.pi / 2 * v.sinh()
    log_weight = (math.pi / 2 * (v[1] - v[0]) * v.cosh()).log() + steep.abs() + torch.log1p((-2 * steep.abs()).exp())
    log_weight = log_weight - math.log(2)  # of cosh(steep), written so that it does not overflow
    return torch.logsumexp(log_weight - rho(steep.sinh(), alpha.double()[:, None]), dim=-1)


def build_table() -> Table:
    """The table from quadrature, in float32."""
    places = torch.linspace(_FIRST, _LAST, STEPS + 1, dtype=torch.float64)
    alpha = _unwarp(places[:-1]).requires_grad_()
    values = exact_log_partition(alpha)
    (slopes,) = torch.autograd.grad(values.sum(), alpha)
    (density,) = torch.autograd.grad(_warp(alpha).sum(), alpha)
    at_infinity = exact_log_partition(torch.tensor([math.inf]))
    far = torch.tensor([1e5], dtype=torch.float64)  # log Z goes to its limit like 1 / alpha, and so does the warp
    last = (at_infinity - exact_log_partition(far)) / (_LAST - _warp(far))
    slopes = torch.cat([slopes / density, last]) * (_LAST - _FIRST) / STEPS
    values = torch.cat([values.detach(), at_infinity])
    return torch.stack([values, values - values.float(), slopes]).float()


def _warp(alpha: Tensor) -> Tensor:
    """Rises with alpha, ever steeper towards 0 and towards 2; finite at infinity."""
    side = torch.where(alpha < 2, -1.0, 1.0)
    bend = (alpha - 2) * side  # not abs(), whose slope at 2 would be 0
    towards_2 = side * (math.log1p(REACH / NEAR_2) - torch.log1p(REACH / (bend + NEAR_2)))
    return 0.5 * towards_2 - torch.log1p(REACH / (alpha + NEAR_0))


_FIRST = _warp(torch.tensor(0.0, dtype=torch.float64)).item()
_LAST = _warp(torch.tensor(math.inf, dtype=torch.float64)).item()


def _unwarp(places: Tensor) -> Tensor:
    """The inverse, by bisection of log |alpha - 2|."""
    side = torch.where(places < _warp(torch.tensor(2.0, dtype=torch.float64)), -1.0, 1.0).double()
    low, high = torch.full_like(places, -60.0), torch.where(side < 0, math.log(2), 60.0).double()
    for _ in range(100):
        middle = (low + high) / 2
        beyond = side * (_warp(2 + side * middle.exp()) - places) > 0
        low, high = torch.where(beyond, low, middle), torch.where(beyond, middle, high)
    return (2 + side * middle.exp()).clamp(min=0)


if __name__ == "__main__":
    save_file({"log_partition": build_table().contiguous()}, FILE)
    print(f"{FILE}: {FILE.stat().st_size} bytes")
