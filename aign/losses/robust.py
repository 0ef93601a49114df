"""The general robust loss of Barron, "A General and Adaptive Robust Loss Function" (CVPR 2019), section 1.

With s = (x / c)^2, b = |alpha - 2|, L = log(1 + s / b) and y = alpha L / 2, Eq. 8 is rho = (b / alpha) (e^y - 1), which
is (b / 2) L phi(y) with phi(y) = (e^y - 1) / y, smooth at 0. Slopes are worked out by hand in these terms: autograd
through Eq. 8 gives nan at the singular alphas, and none of the digits of d rho / d alpha near a zero residual.
"""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

Floats = Float[Tensor, "*#shape"] | float
"""A tensor that broadcasts with the others, or one number for all."""


class _Limits(NamedTuple):
    residual: float
    """Residuals count as this many scales at most, so that no square overflows, not even over the smallest bend."""
    far: float
    """An alpha as far from 0 as this is infinite: s^2 / alpha is lost in rounding."""
    exponent: float
    """e to the power of this still is finite, with room to be multiplied."""
    small: float
    """Where a short series is more exact than a difference that cancels."""


_LIMITS = {
    torch.float32: _Limits(residual=2.0**50, far=2.0**40, exponent=87.0, small=0.1),
    torch.float64: _Limits(residual=2.0**470, far=2.0**70, exponent=700.0, small=0.01),
}


def rho(x: Float[Tensor, "*#shape"], alpha: Floats, scale: Floats = 1.0) -> Float[Tensor, "*_"]:
    """The loss rho(x, alpha, c) of Eq. 8, elementwise, without a unit; x, alpha and scale broadcast.

    alpha (any real number or +-inf) is how much outliers count: 2 is L2, 1 Charbonnier (smooth L1), 0 Cauchy,
    -2 Geman-McClure, -inf Welsch, inf the upper bound of all (Eq. 13). scale c > 0, in x's unit, is where the loss
    stops being quadratic. The slope in x is at most 1 / c for alpha <= 1 and |x| / c^2 for alpha <= 2 (Eq. 14);
    minimise ``scale * rho`` for a slope of at most 1.

    The result is in the widest type among the tensors, float32 at least: halves are computed in it. It has finite
    gradients in x, alpha and scale everywhere, and second ones where the loss is smooth. What has no bound is cut off:
    d rho / d alpha grows like log |alpha - 2| towards alpha = 2, and there is what it is at the distance of one
    rounding; an |x| beyond 2^50 scales (float64: 2^470) counts as that, and so does an exponent beyond 87 (float64:
    700) where alpha > 2. d rho / d alpha is 0 at +-inf.

    Nothing waits for the device. A float alpha picks its closed form before anything is computed and is the fastest;
    pass a tensor to learn it, or to change it without compiling again.
    """
    return _Rho.apply(*_prepared(x, alpha, scale))


def weight(x: Float[Tensor, "*#shape"], alpha: Floats, scale: Floats = 1.0) -> Float[Tensor, "*_"]:
    """What x counts in iteratively reweighted least squares: (d rho / d x) / x of Eq. 9, in 1 / unit of x squared.

    Minimising the sum of rho is minimising the sum of ``weight * x^2 / 2`` with weights recomputed in between. At most
    1 / c^2 for alpha <= 2, which it is at x = 0. Arguments, types and limits are those of :func:`rho`.
    """
    x, alpha, scale = _prepared(x, alpha, scale)
    return _weight(_residual(x, scale), alpha) / scale / scale


def outlier_penalty(z: Float[Tensor, "*#shape"], alpha: Floats) -> Float[Tensor, "*_"]:
    """Psi(z, alpha), the price of trusting a sample by z: the outlier process of Black and Rangarajan (IJCV 1996).

        rho(x, alpha, c) = min over z in [0, 1] of z (x / c)^2 / 2 + Psi(z, alpha), at z = c^2 weight(x, alpha, c)

    z is in [0, 1], without a unit; alpha <= 2, also -inf. Psi falls from the price of a plain outlier (infinite for
    alpha >= 0, else (alpha - 2) / alpha) to 0 at z = 1. Its error is about 1e-5 of it in float32 and 1e-9 in float64.
    It has no value, that is nan, for alpha > 2, where large residuals count more and not less.

    Derived for this project: the paper leaves it to its supplement.
    """
    z, alpha, _ = _prepared(z, alpha, 1.0)
    alpha = z.new_full((), alpha) if isinstance(alpha, float) else alpha
    limits = _LIMITS[z.dtype]
    far = alpha <= -limits.far
    bend = torch.where(far | (alpha >= 2), 1.0, 2 - alpha)
    known = z > 0
    t = -torch.where(known, z, 1.0).log()
    # Psi = (b/2) t (phi(alpha t / b) - phi(-t)); the two arguments of phi differ by 2 t / b, which vanishes with 1 / b
    gap = torch.where(far, 0.0, 2 * t / bend)
    apart = t * bend / 2 * (_phi((gap - t).clamp(max=limits.exponent)) - _phi(-t))
    middle = gap / 2 - t
    together = t.square() * _phi_slope(middle, limits.small, _phi(middle))
    process = torch.where(gap < limits.small**2, together, apart)
    outlier = torch.where(alpha < 0, bend / torch.where(alpha < 0, -alpha, 1.0).clamp(max=limits.far), math.inf)
    process = torch.where(known, process, torch.where(far, 1.0, outlier))
    rounded = 1 - 8 * torch.finfo(z.dtype).eps  # at alpha = 2 only z = 1 has a price, but c^2 weight may round
    process = torch.where((alpha == 2) & (z < rounded), math.inf, process)
    return torch.where(alpha > 2, math.nan, process)


class _Rho(torch.autograd.Function):
    """rho with the slopes of Eq. 9 and of :func:`_slope_in_alpha`. alpha and scale are tensors or floats."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, alpha: Any, scale: Any) -> Tensor:
        return _value(_residual(x, scale), alpha)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.floats = tuple(None if isinstance(value, Tensor) else value for value in inputs)
        ctx.save_for_backward(*(value if isinstance(value, Tensor) else None for value in inputs))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, alpha, scale = (t if f is None else f for t, f in zip(ctx.saved_tensors, ctx.floats, strict=True))
        grad, residual = grads[0], _residual(x, scale)
        slope = grad * _slope(residual, alpha) / scale
        of_x = slope.sum_to_size(x.shape) if ctx.needs_input_grad[0] else None
        of_alpha = of_scale = None
        if ctx.needs_input_grad[1]:
            of_alpha = (grad * _slope_in_alpha(residual, alpha)).sum_to_size(alpha.shape)
        if ctx.needs_input_grad[2]:
            of_scale = (-slope * residual).sum_to_size(scale.shape)
        return of_x, of_alpha, of_scale


def _prepared(x: Tensor, alpha: Floats, scale: Floats) -> tuple[Tensor, Floats, Floats]:
    """All in the type to compute in: halves lose the small differences taken here."""
    dtype = torch.float32
    for value in (x, alpha, scale):
        dtype = torch.promote_types(dtype, value.dtype) if isinstance(value, Tensor) else dtype
    alpha = alpha.to(dtype) if isinstance(alpha, Tensor) else float(alpha)
    return x.to(dtype), alpha, scale.to(dtype) if isinstance(scale, Tensor) else float(scale)


def _residual(x: Tensor, scale: Floats) -> Tensor:
    """In scales, and so limited that it can be squared."""
    limit = _LIMITS[x.dtype].residual
    return (x / scale).clamp(-limit, limit)


# --- of a residual in scales, for any alpha --------------------------------------------------------------------------


class _Terms(NamedTuple):
    """What all is made of. A tensor of alphas has no cases: stand-ins so near that rounding hides them take the place
    of alpha = 0, 2 and +-inf, so that no division by zero can put nan into gradients."""

    shape: Tensor
    """alpha / 2, never 0, at most the limit ``far``"""
    bend: Tensor
    """b = |alpha - 2|, at least one rounding"""
    ratio: Tensor
    """s / b"""
    log: Tensor
    """L = log(1 + s / b)"""
    y: Tensor
    """alpha L / 2, the exponent of the loss"""
    less: Tensor
    """(alpha / 2 - 1) L, the exponent of the weight"""


def _terms(r: Tensor, alpha: Tensor) -> _Terms:
    eps = torch.finfo(r.dtype).eps
    far = _LIMITS[r.dtype].far
    alpha = alpha.clamp(-far, far)
    bend = (alpha - 2).abs().clamp(min=eps)
    shape = torch.where(alpha.abs() < eps / 256, eps / 512, 0.5 * alpha)
    ratio = r * r / bend
    log = torch.log1p(ratio)
    return _Terms(shape, bend, ratio, log, y=shape * log, less=(0.5 * alpha - 1) * log)


def _value(r: Tensor, alpha: Floats) -> Tensor:
    if isinstance(alpha, float):
        fixed = _fixed_value(r, alpha)
        if fixed is not None:
            return fixed
        alpha = r.new_full((), alpha)
    terms, largest = _terms(r, alpha), _LIMITS[r.dtype].exponent
    # expm1(y) has an error of |y| roundings, which shows in large losses; pow has none, but cancels where y is small
    large = terms.log > (0.5 / terms.shape.abs()).clamp(min=1)
    grown = torch.where(large, torch.pow(1 + terms.ratio, terms.shape) - 1, torch.expm1(terms.y))
    return grown.clamp(max=math.exp(largest)) * (0.5 * terms.bend / terms.shape)


def _weight(r: Tensor, alpha: Floats) -> Tensor:
    """(d rho / d r) / r = (1 + s / b)^(alpha / 2 - 1), of Eq. 9."""
    if isinstance(alpha, float):
        fixed = _fixed_weight(r, alpha)
        if fixed is not None:
            return fixed
        alpha = r.new_full((), alpha)
    return torch.exp(_terms(r, alpha).less.clamp(max=_LIMITS[r.dtype].exponent))


def _slope(r: Tensor, alpha: Floats) -> Tensor:
    """d rho / d r."""
    slope, largest = r * _weight(r, alpha), torch.finfo(r.dtype).max
    return slope if isinstance(alpha, float) and alpha <= 2 else slope.clamp(-largest, largest)


def _slope_in_alpha(r: Tensor, alpha: Tensor) -> Tensor:
    """d rho / d alpha = (b/4) L (phi(y - L) - phi(y) + L phi'(y)) with y = alpha L / 2; never negative (Eq. 12).

    It is (b/4) times the integral of e^(alpha l / 2) (e^-l - 1 + l) for l from 0 to L, since the weight w of
    Eq. 9 changes by dw / d alpha = (w / 2) (log(1 + s/b) - (s/b) / (1 + s/b)) on either side of alpha = 2.
    """
    terms, limits, largest = _terms(r, alpha), _LIMITS[r.dtype], torch.finfo(r.dtype).max
    a, log, y = terms.shape, terms.log, terms.y.clamp(max=limits.exponent - 10)
    phi = _phi(y)
    whole = log * (_phi(terms.less.clamp(max=limits.exponent - 10)) - phi + log * _phi_slope(y, limits.small, phi))
    # near a zero residual all but the third order in L cancels: the series has it in front
    near = log < limits.small / (1 + a.abs())
    few = torch.where(near, log, 0.0)
    series = 1 + few * (
        (3 * a - 1) / 4 + few * ((6 * a**2 - 4 * a + 1) / 20 + few * (10 * a**3 - 10 * a**2 + 5 * a - 1) / 120)
    )
    infinite = 2 * a.abs() >= limits.far
    factor = torch.where(infinite, 0.0, terms.bend / 4)
    return (factor * torch.where(near, few**3 / 6 * series, whole.clamp(min=0))).clamp(max=largest)


def _phi(y: Tensor) -> Tensor:
    """(e^y - 1) / y, 1 at 0."""
    zero = y == 0
    return torch.where(zero, 1 + y / 2, torch.expm1(y) / torch.where(zero, 1.0, y))


def _phi_slope(y: Tensor, small: float, phi: Tensor) -> Tensor:
    """phi'(y) = (e^y - phi(y)) / y, 1/2 at 0."""
    near = y.abs() < small
    few, apart = torch.where(near, y, 0.0), torch.where(near, 1.0, y)
    series = 1 / 2 + few * (1 / 3 + few * (1 / 8 + few * (1 / 30 + few * (1 / 144 + few / 840))))
    return torch.where(near, series, (y.exp() - phi) / apart)


# --- of a residual in scales, for one alpha that the host knows ------------------------------------------------------


def _fixed_value(r: Tensor, alpha: float) -> Tensor | None:
    """The closed form, if there is one."""
    s = r * r
    if alpha == 2:
        return 0.5 * s
    if alpha == 1:
        return s / ((s + 1).sqrt() + 1)  # keeps the digits that sqrt(s + 1) - 1 loses near a zero residual
    if alpha == 0:
        return torch.log1p(0.5 * s)
    if alpha == -2:
        return s / (0.5 * s + 2)
    if alpha == -math.inf:
        return -torch.expm1(-0.5 * s)
    if alpha == math.inf:
        return torch.expm1((0.5 * s).clamp(max=_LIMITS[r.dtype].exponent))
    return None


def _fixed_weight(r: Tensor, alpha: float) -> Tensor | None:
    """The closed form, if there is one."""
    s = r * r
    if alpha == 2:
        return torch.ones_like(r)
    if alpha == 1:
        return (s + 1).rsqrt()
    if alpha == 0:
        return (0.5 * s + 1).reciprocal()
    if alpha == -2:
        return (0.25 * s + 1).reciprocal().square()
    if alpha == -math.inf:
        return torch.exp(-0.5 * s)
    if alpha == math.inf:
        return torch.exp((0.5 * s).clamp(max=_LIMITS[r.dtype].exponent))
    return None
