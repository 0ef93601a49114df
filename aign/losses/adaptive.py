"""A robust loss whose alpha and scale are fixed, follow a schedule, or are learnt (Barron, CVPR 2019, section 3)."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from aign.errors import UserError
from aign.losses.density import Density
from aign.losses.robust import Floats, rho
from aign.losses.schedules import (
    AdaptiveAlpha,
    AdaptiveScale,
    Alpha,
    Fixed,
    Scale,
    Schedule,
    check_scale,
    parse_alpha,
    parse_scale,
)

Each = Literal["tensor", "channel", "coefficient"]


class AdaptiveLoss(nn.Module):
    """The loss of residuals (batch, *size), elementwise; its parameters belong to the generator's optimizer.

    What is learnt is learnt once a ``tensor``, once a ``channel`` (the first dimension of size: an image's channel, a
    body's joint) or once a ``coefficient``. Alpha then lies strictly inside its range (Eq. 20) and scale above
    ``scale_floor`` (Eq. 21). The parameters behind them are zero at the start, so weight decay pulls to the start;
    their shapes are (1,), (channels, 1, ...) and size.

    ``likelihood`` adds log scale + log Z(alpha) (Eq. 16), without which a learnt alpha would only fall and a learnt
    scale only grow (section 2); it is on where something is learnt unless said otherwise. Then the loss may be
    negative: show people something else. ``times_scale`` multiplies the loss with a scale that is not learnt, so that
    its slope is at most 1 for alpha <= 1, and it has the residual's unit.

    Raises UserError if something is learnt without the likelihood or multiplied with its own scale, if the likelihood
    is wanted for an alpha that may be negative, if a scale is not positive, or learnt and not above its floor, and for
    an ``each`` without effect.
    """

    def __init__(
        self,
        size: tuple[int, ...] = (),
        *,
        each: Each = "tensor",
        alpha: Alpha = AdaptiveAlpha(0, 2),  # noqa: B008
        scale: Scale = Fixed(1),  # noqa: B008
        scale_floor: float = 1e-5,
        likelihood: bool | None = None,
        times_scale: bool = False,
    ) -> None:
        super().__init__()
        self.latest: dict[str, Tensor] = {}
        """Alpha and scale in the last call, of those that are not fixed: kept from there, because where weights are
        sharded they are not there at other times."""
        learnt = isinstance(alpha, AdaptiveAlpha) or isinstance(scale, AdaptiveScale)
        self.size, self._alpha, self._scale, self.scale_floor = size, alpha, scale, scale_floor
        self.likelihood = learnt if likelihood is None else likelihood
        self.times_scale = times_scale
        self._check(each)
        shape = {"tensor": (1,), "channel": (*size[:1], *(1 for _ in size[1:])), "coefficient": size}[each]
        if isinstance(alpha, AdaptiveAlpha):
            self.latent_alpha = nn.Parameter(torch.zeros(shape))
        if isinstance(scale, AdaptiveScale):
            self.latent_scale = nn.Parameter(torch.zeros(shape))
        if self.likelihood:
            self.density = Density()

    def forward(self, residual: Float[Tensor, " batch *size"], done: float = 0.0) -> Float[Tensor, " batch *size"]:
        """The loss of each residual when this fraction of the run is done, which matters to schedules alone.

        Float32 at least. Raises ValueError for a residual of another size than the module's.
        """
        if residual.shape[1:] != self.size:
            raise ValueError(f"residuals are {tuple(residual.shape[1:])}, but the loss was made for {self.size}")
        alpha, scale = self.alpha(done), self.scale(done)
        self.latest = self._changing(alpha, scale, residual)
        loss = self.density.nll(residual, alpha, scale) if self.likelihood else rho(residual, alpha, scale)
        return loss * scale if self.times_scale else loss

    @property
    def changing(self) -> dict[str, Tensor]:
        """Means of what is ``latest``."""
        return {name: value.mean() for name, value in self.latest.items()}

    def alpha(self, done: float = 0.0) -> Floats:
        """A float where scheduled, else a tensor of the learnt ones, which broadcasts with residuals."""
        if not isinstance(self._alpha, AdaptiveAlpha):
            return self._alpha.at(done)
        low, high = self._alpha.low, self._alpha.high
        part = 0.5 if self._alpha.start is None else (self._alpha.start - low) / (high - low)
        return low + (high - low) * torch.sigmoid(widened(self.latent_alpha) + math.log(part / (1 - part)))

    def scale(self, done: float = 0.0) -> Floats:
        """A float where scheduled, else a tensor of the learnt ones, which broadcasts with residuals; in their unit."""
        if not isinstance(self._scale, AdaptiveScale):
            return self._scale.at(done)
        return learnt_scale(widened(self.latent_scale), self._scale.start, self.scale_floor)

    def _changing(self, alpha: Floats, scale: Floats, like: Tensor) -> dict[str, Tensor]:
        both = {"alpha": (self._alpha, alpha), "scale": (self._scale, scale)}
        return {
            name: value.detach() if isinstance(value, Tensor) else like.new_full((), value)
            for name, (kind, value) in both.items()
            if not isinstance(kind, Fixed)
        }

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self._alpha}, scale={self._scale}, likelihood={self.likelihood}"

    def _check(self, each: Each) -> None:
        check_scale(self._scale)
        alpha_learnt, scale_learnt = isinstance(self._alpha, AdaptiveAlpha), isinstance(self._scale, AdaptiveScale)
        if alpha_learnt and not self.likelihood:
            reason = "without the likelihood a learnt alpha only falls to its low end"
            raise UserError(f"alpha = {self._alpha}", reason, "add the likelihood, or fix or schedule alpha")
        if isinstance(self._scale, AdaptiveScale):
            if not self.likelihood:
                reason = "without the likelihood a learnt scale only grows"
                raise UserError(f"scale = {self._scale}", reason, "add the likelihood, or fix or schedule scale")
            if self.times_scale:
                reason = "a loss multiplied with a learnt scale is no likelihood of it"
                raise UserError(f"scale = {self._scale}", reason, "fix or schedule scale, or leave times_scale out")
            if not 0 < self.scale_floor < self._scale.start:
                reason = f"does not start above its floor, {self.scale_floor:g}"
                raise UserError(
                    f"scale = {self._scale}", reason, "start higher, or lower scale_floor, which is positive"
                )
        if not isinstance(self._alpha, AdaptiveAlpha) and self.likelihood and min(self._alpha.values) < 0:
            reason = "there is no likelihood for a negative alpha"
            raise UserError(f"alpha = {self._alpha}", reason, "stay at 0 or above, or switch the likelihood off")
        if each != "tensor" and not (self.size and (alpha_learnt or scale_learnt)):
            reason = "nothing is learnt" if self.size else "residuals are single numbers"
            raise UserError(f"each = {each}", f"no effect where {reason}", "leave it out")


def learnt_scale(latent: Tensor, start: float, floor: float) -> Tensor:
    """A scale above its floor (Eq. 21), which a latent of zero gives its start."""
    return floor + (start - floor) * softplus(latent + math.log(math.expm1(1)))


def widened(latent: Tensor) -> Tensor:
    """Float32 at least."""
    return latent.to(torch.promote_types(latent.dtype, torch.float32))


def robust_loss(alpha: str, scale: str) -> AdaptiveLoss:
    """The loss of two options as a command line spells them; its slope is at most 1 where nothing is learnt.

    Raises UserError for a spelling that means nothing, and for an alpha that excludes the scale.
    """
    parsed_alpha, parsed_scale = parse_alpha(alpha), parse_scale(scale)
    scheduled = isinstance(parsed_alpha, Schedule) and isinstance(parsed_scale, Schedule)
    return AdaptiveLoss(alpha=parsed_alpha, scale=parsed_scale, times_scale=scheduled)


def one_spelling(alpha: str, scale: str) -> tuple[str, str]:
    """The same two options, each schedule in the one spelling it has. Raises UserError as ``robust_loss`` does."""
    robust_loss(alpha, scale)
    return str(parse_alpha(alpha)), str(parse_scale(scale))
