"""Properties and limits of the general robust loss (Barron, CVPR 2019, Eq. 8-14)."""

import importlib.util
import math
import sys

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import aign.losses.robust
from aign.losses.robust import outlier_penalty, rho, weight

INF = math.inf
NAMED = {
    2.0: lambda s: s / 2,
    1.0: lambda s: s / ((s + 1).sqrt() + 1),
    0.0: lambda s: (s / 2).log1p(),
    -2.0: lambda s: 2 * s / (s + 4),
    -INF: lambda s: -(-s / 2).expm1(),
    INF: lambda s: (s / 2).expm1(),
}
ALPHAS = (-INF, -1e30, -32.0, -2.0, -1.0, -1e-6, 0.0, 1e-6, 0.5, 1.0, 1.5, 2 - 1e-6, 2.0, 2 + 1e-6, 3.0)
MANY = 100_000
EVERY_ALPHA = pytest.mark.parametrize("alpha", ALPHAS)
BOTH_TYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
BOTH_FORMS = pytest.mark.parametrize("form", [float, torch.tensor], ids=["float", "tensor"])


def residuals(rng, dtype, count=MANY):
    """Of all sizes from 1e-7 to 1e7, either sign, and zero."""
    size = 10 ** (14 * torch.rand(count, generator=rng, dtype=torch.float64) - 7)
    sign = torch.randint(0, 2, (count,), generator=rng) * 2 - 1
    return torch.cat([torch.zeros(1), size * sign]).to(dtype)


def alphas(rng, dtype, low=-10.0, high=2.0, count=MANY):
    """Uniform, of which a third lie close to 0 and a third close to 2."""
    around = torch.tensor([0.0, 0.0, 2.0], dtype=torch.float64)[torch.randint(0, 3, (count + 1,), generator=rng)]
    near = around + 10 ** (-9 * torch.rand(count + 1, generator=rng, dtype=torch.float64))
    wide = low + (high - low) * torch.rand(count + 1, generator=rng, dtype=torch.float64)
    return torch.where(torch.arange(count + 1) % 3 == 0, wide, near).clamp(low, high).to(dtype)


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", NAMED)
@BOTH_TYPES
@BOTH_FORMS
def test_named_members_to_a_few_roundings(alpha, dtype, form, rng):
    x = residuals(rng, dtype)
    x = x.clamp(-3, 3) if alpha == INF else x
    expected = NAMED[alpha](x.double().square())  # float64 against itself tests the form, float32 the digits as well
    error = (rho(x, form(alpha), 1.0).double() - expected).abs()
    assert (error <= 4 * torch.finfo(dtype).eps * expected * (3 if alpha == INF else 1)).all()


@pytest.mark.parametrize("alpha", [-8.0, -0.5, 1e-4, 0.5, 1.5, 1.999, 3.0])
def test_float32_keeps_the_digits_between_named_members(alpha, rng):
    x = residuals(rng, torch.float32).clamp(-1e5, 1e5)
    alpha = torch.tensor(alpha)
    exact = rho(x.double(), alpha.double(), 1.0)
    assert ((rho(x, alpha, 1.0).double() - exact).abs() <= 4 * torch.finfo(torch.float32).eps * exact).all()


@pytest.mark.parametrize("near", [1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize(("alpha", "sides"), [(2.0, (1, -1)), (0.0, (1, -1)), (-INF, (-1,))])
@BOTH_FORMS
def test_special_alphas_are_limits(near, alpha, sides, form):
    x = torch.linspace(-5, 5, 1001, dtype=torch.float64)
    for side in sides:
        close = alpha + side * near if math.isfinite(alpha) else side / near
        away = (rho(x, form(close), 1.0) - rho(x, form(alpha), 1.0)).abs().max()
        assert away < 12.5 * near * (2 + abs(math.log(near)))  # x^2 / 4 log |alpha - 2| towards 2


@BOTH_FORMS
@EVERY_ALPHA
def test_zero_at_zero_even_and_growing(alpha, form):
    x = torch.linspace(0, 20, 2001, dtype=torch.float64)
    loss = rho(x, form(alpha), 0.7)
    assert loss[0] == 0
    assert (loss.diff() >= 0).all()
    assert torch.equal(rho(-x, form(alpha), 0.7), loss)


@BOTH_TYPES
def test_scaling_residual_and_scale_together_changes_nothing(dtype, rng):
    x, alpha = residuals(rng, dtype), alphas(rng, dtype)
    torch.testing.assert_close(rho(8 * x, alpha, 8 * 0.7), rho(x, alpha, 0.7), rtol=1e-5, atol=0)


@BOTH_TYPES
def test_grows_with_alpha(dtype, rng):
    x, first, second = residuals(rng, dtype), alphas(rng, dtype), alphas(rng, dtype)
    rounding = 1 + 8 * torch.finfo(dtype).eps
    low, high = rho(x, torch.minimum(first, second)), rho(x, torch.maximum(first, second))
    assert (low <= high * rounding).all()
    representable = x.abs() < 10
    assert (high <= rho(x, INF) * rounding)[representable].all()


def test_alpha_and_scale_broadcast_as_tensors_or_numbers(rng):
    x = torch.randn(4, 3, 5, generator=rng)
    alpha, scale = torch.tensor([0.0, 1.0, 2.0])[:, None], torch.tensor([0.5, 1.0, 2.0, 4.0, 8.0])
    loss = rho(x, alpha, scale)
    for row, value in enumerate((0.0, 1.0, 2.0)):
        for column in range(5):
            expected = rho(x[:, row, column], value, scale[column].item())
            torch.testing.assert_close(loss[:, row, column], expected)
    assert rho(x[0], torch.tensor([1.0, 2.0])[:, None, None]).shape == (2, 3, 5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_computed_in_float32(dtype, rng):
    x = torch.randn(100, generator=rng).to(dtype).requires_grad_()
    alpha, scale = torch.tensor([0.3], dtype=dtype), torch.tensor([0.1], dtype=dtype)
    loss = rho(x, alpha, scale)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, rho(x.float(), alpha.float(), scale.float()))
    loss.sum().backward()
    assert x.grad.dtype == dtype


# --- slopes ----------------------------------------------------------------------------------------------------------


@BOTH_TYPES
def test_slopes_are_finite_everywhere(dtype, rng):
    huge = torch.tensor([1e10, 1e18, 1e30, -1e30], dtype=dtype)
    x = torch.cat([residuals(rng, dtype, 200), huge])[:, None].requires_grad_()
    alpha = torch.tensor([*ALPHAS, 2.5, 1e4, -1e4, INF], dtype=dtype, requires_grad=True)
    every = alpha.expand(len(x), -1).clone().detach().requires_grad_()
    scale = torch.ones(len(x), len(alpha), dtype=dtype, requires_grad=True)
    loss = rho(x, every, scale)
    assert loss.isfinite().all()
    of_x, of_alpha = torch.autograd.grad(loss, (x, every), torch.full_like(loss, 1e-3))
    assert of_x.isfinite().all()
    assert of_alpha.isfinite().all()
    assert (of_alpha >= 0).all()  # Eq. 12
    kept = (every.detach() <= 2) & (x.detach().abs() <= 1e18)  # else the slope itself may be beyond all numbers
    (of_scale,) = torch.autograd.grad(rho(x, every, scale)[kept].sum(), scale)
    assert of_scale.isfinite().all()


@BOTH_FORMS
@pytest.mark.parametrize("alpha", [-INF, -2.0, 0.0, 1.0, 1.5, 2.0])
def test_a_residual_of_too_many_scales_gives_no_nan(alpha, form):
    x, scale = torch.tensor([1e38], requires_grad=True), torch.tensor([0.01], requires_grad=True)
    rho(x, form(alpha), scale).backward()  # x / scale is beyond all numbers
    assert x.grad.isfinite()
    assert scale.grad.isfinite()


@BOTH_FORMS
@EVERY_ALPHA
@BOTH_TYPES
def test_slope_at_zero_is_zero_not_nan(alpha, form, dtype):
    x = torch.zeros(3, dtype=dtype, requires_grad=True)
    rho(x, form(alpha), 0.7).sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


@pytest.mark.parametrize("alpha", [-INF, -32.0, -2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
@BOTH_FORMS
def test_first_and_second_slopes_in_x_and_scale(alpha, form):
    x = torch.tensor([-3.0, -0.5, 0.0, 1e-3, 0.2, 1.0, 2.5], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x, c: rho(x, form(alpha), c), (x, scale))
    assert gradgradcheck(lambda x, c: rho(x, form(alpha), c), (x, scale))


def test_slopes_in_alpha_and_second_ones():
    x = torch.tensor([[-5.0], [-0.5], [0.0], [0.05], [1.0], [30.0]], dtype=torch.float64, requires_grad=True)
    alpha = torch.tensor([-20.0, -2.0, -1.0, -1e-3, 0.3, 1.0, 1.9, 2.1, 2.6], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x, a: rho(x, a, 0.7), (x, alpha), rtol=1e-4)
    assert gradgradcheck(lambda x, a: rho(x, a, 0.7), (x.detach()[1:5].requires_grad_(), alpha), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("x", [0.01, 0.1, 1.0, 10.0])
def test_slope_in_alpha_at_zero_is_no_exception(x):
    """By hand: L^2 / 4 - L / 2 + s / (2 s + 4) with L = log(1 + s / 2)."""
    alpha = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    rho(torch.tensor([x], dtype=torch.float64), alpha).backward()
    log, s = math.log1p(x * x / 2), x * x
    assert math.isclose(alpha.grad.item(), log * log / 4 - log / 2 + s / (2 * s + 4), rel_tol=1e-4)


def test_slope_in_alpha_keeps_its_digits_in_float32(rng):
    x = residuals(rng, torch.float32, 2000).clamp(-1e4, 1e4)
    alpha = alphas(rng, torch.float32, low=-4.0, count=2000).requires_grad_()
    exact = alpha.detach().double().requires_grad_()
    rho(x, alpha).sum().backward()
    rho(x.double(), exact).sum().backward()
    seen = (exact.grad > 1e-30) & ((exact - 2).abs() > 1e-6)  # float32 cannot come as close to 2
    assert ((alpha.grad - exact.grad).abs() <= 1e-3 * exact.grad)[seen].all()


def test_slope_in_alpha_passes_over_two(rng):
    """It grows like log |alpha - 2| from either side, and is finite there."""
    x = torch.tensor([3.0], dtype=torch.float64)
    slopes = []
    for near in (-1e-2, -1e-5, -1e-10, 0.0, 1e-10, 1e-5, 1e-2):
        alpha = torch.tensor([2 + near], dtype=torch.float64, requires_grad=True)
        slopes.append(torch.autograd.grad(rho(x, alpha).sum(), alpha)[0].item())
    assert slopes[3] == max(slopes) < 100
    assert slopes[:4] == sorted(slopes[:4])
    assert math.isclose(slopes[2], slopes[4], rel_tol=1e-6)


@pytest.mark.parametrize(
    ("alpha", "bound"), [(1.0, 1.0), (0.5, 0.7598), (0.0, 0.7071), (-1.0, 0.6667), (-2.0, 0.6495), (-8.0, 0.6224)]
)
@BOTH_FORMS
def test_influence_is_bounded_as_in_eq_14(alpha, bound, form):
    scale = 0.7
    x = torch.linspace(0, 1000 if alpha == 1 else 20, 20_001, dtype=torch.float64, requires_grad=True)
    (scale * rho(scale * x, form(alpha), scale)).sum().backward()
    assert math.isclose((x.grad / scale).max(), bound, rel_tol=2e-4)


def test_vmap(rng):
    x, alpha = torch.randn(5, 3, generator=rng), torch.tensor([0.0, 1.0, 2.0])
    by_alpha = torch.vmap(lambda a: torch.func.grad(lambda y: rho(y, a).sum())(x))(alpha)
    for row, value in zip(by_alpha, (0.0, 1.0, 2.0), strict=True):
        torch.testing.assert_close(row, x * weight(x, value))


# --- weights and the outlier process ---------------------------------------------------------------------------------


@BOTH_FORMS
@EVERY_ALPHA
def test_weight_is_slope_over_residual(alpha, form):
    x = torch.linspace(0.01, 9, 200, dtype=torch.float64, requires_grad=True)
    rho(x, form(alpha), 0.7).sum().backward()
    torch.testing.assert_close(weight(x.detach(), form(alpha), 0.7), x.grad / x.detach())
    assert math.isclose(weight(torch.zeros(1), form(alpha), 0.5), 4)


@pytest.mark.parametrize("alpha", [-INF, -8.0, -2.0, -1.0, -1e-6, 0.0, 0.5, 1.0, 1.5, 2.0])
@BOTH_TYPES
def test_loss_is_the_best_trade_of_trust(alpha, dtype):
    x = torch.linspace(-5, 5, 101, dtype=dtype)
    half = 0.5 * (x / 0.7).square()
    best = weight(x / 0.7, alpha)
    tolerance = 2e-5 if dtype == torch.float32 else 1e-8
    torch.testing.assert_close(
        best * half + outlier_penalty(best, alpha), rho(x, alpha, 0.7), rtol=tolerance, atol=tolerance
    )
    others = torch.linspace(0, 1, 401, dtype=dtype)[:, None]
    assert (others * half + outlier_penalty(others, alpha) >= rho(x, alpha, 0.7) * (1 - tolerance) - tolerance).all()


def test_outlier_penalty_by_hand():
    z = torch.tensor([0.0, 0.1, 0.5, 0.999, 1.0], dtype=torch.float64)
    log = z.clamp(min=1e-300).log()
    torch.testing.assert_close(outlier_penalty(z, 0.0)[1:], (z - log - 1)[1:])
    torch.testing.assert_close(outlier_penalty(z, -INF), z * log - z + 1)
    torch.testing.assert_close(outlier_penalty(z, -2.0), 2 * (1 - z.sqrt()).square())  # Geman-McClure
    assert outlier_penalty(z, 0.0)[0] == INF
    assert outlier_penalty(z, 3.0).isnan().all()


# --- compiled --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain_rho():
    """rho as it is outside tests: the type checks in signatures that tests switch on cannot be compiled."""
    spec = importlib.util.spec_from_file_location("plain_robust", aign.losses.robust.__file__)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module.rho
    del sys.modules[spec.name]


@pytest.mark.parametrize("alpha", [1.3, torch.tensor([-INF, -2.0, 0.0, 1.0, 1.3, 2.0, 2.5])], ids=str)
def test_compiled_in_one_graph_and_equal(alpha, plain_rho, rng):
    learnt = alpha.clone().requires_grad_() if isinstance(alpha, torch.Tensor) else None
    x = torch.randn(50, 1, generator=rng).requires_grad_()
    scale = torch.tensor([0.7], requires_grad=True)
    inputs = [x, scale] if learnt is None else [x, scale, learnt]

    def loss(x, scale):
        return plain_rho(x, alpha if learnt is None else learnt, scale)

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    eager, graph = loss(x, scale), compiled(x, scale)
    torch.testing.assert_close(graph, eager)
    expected = torch.autograd.grad(eager.sum(), inputs)
    torch.testing.assert_close(torch.autograd.grad(graph.sum(), inputs), expected)
