"""Four distributions of the residuals of a reconstruction (Barron, CVPR 2019, section 3.1 and Table 1).

Each is a module of residuals (batch, *size) with a scale, and where it has one a shape, learnt for every coefficient.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aign.losses.adaptive import AdaptiveLoss, learnt_scale, widened
from aign.losses.density import student_t_nll
from aign.losses.schedules import AdaptiveAlpha, AdaptiveScale, Alpha, Fixed

Distribution = Literal["normal", "cauchy", "student-t", "general"]

ALPHAS: dict[str, Alpha] = {"normal": Fixed(2), "cauchy": Fixed(0), "general": AdaptiveAlpha(0, 3, 1)}
"""The general distribution's alpha lies between 0 and 3 and starts at 1, as in the paper."""
SCALE_FLOOR = 1e-8
"""The paper's."""


def make_likelihood(distribution: Distribution, size: tuple[int, ...], *, scale: float) -> "Likelihood":
    """-log p of residuals (batch, *size), elementwise, where every coefficient learns its own scale and shape.

    ``scale`` is where scales start, in the residual's unit.
    """
    if distribution == "student-t":
        return StudentTLoss(size, scale=AdaptiveScale(scale), scale_floor=SCALE_FLOOR)
    return AdaptiveLoss(
        size,
        each="coefficient",
        alpha=ALPHAS[distribution],
        scale=AdaptiveScale(scale),
        scale_floor=SCALE_FLOOR,
    )


class StudentTLoss(nn.Module):
    """-log of Student's t density of residuals (batch, *size); each coefficient has degrees of freedom and a scale.

    The counterpart of AdaptiveLoss, of the same use: parameters are zero at the start, where there is one degree of
    freedom (Cauchy), and there never are fewer than e^-8 or more than e^8 of them, which is as good as normal.
    """

    LOG_DEGREES = 8.0

    def __init__(self, size: tuple[int, ...], *, scale: AdaptiveScale, scale_floor: float = 1e-5) -> None:
        super().__init__()
        self.size, self._scale, self.scale_floor = size, scale, scale_floor
        self.latest: dict[str, Tensor] = {}
        """Degrees of freedom and scale in the last call, as AdaptiveLoss keeps alpha and scale."""
        self.latent_degrees = nn.Parameter(torch.zeros(size))
        self.latent_scale = nn.Parameter(torch.zeros(size))

    def forward(self, residual: Float[Tensor, " batch *size"], done: float = 0.0) -> Float[Tensor, " batch *size"]:
        """The loss of each residual, float32 at least; nothing depends on how much of the run is done.

        Raises ValueError for a residual of another size than the module's.
        """
        if residual.shape[1:] != self.size:
            raise ValueError(f"residuals are {tuple(residual.shape[1:])}, but the loss was made for {self.size}")
        degrees, scale = self.degrees(), self.scale()
        self.latest = {"degrees": degrees.detach(), "scale": scale.detach()}
        return student_t_nll(residual, degrees, scale)

    @property
    def changing(self) -> dict[str, Tensor]:
        """Means of what is ``latest``."""
        return {name: value.mean() for name, value in self.latest.items()}

    def degrees(self) -> Float[Tensor, " *size"]:
        """Degrees of freedom, of each coefficient."""
        latent = widened(self.latent_degrees)
        return (self.LOG_DEGREES * torch.tanh(latent / self.LOG_DEGREES)).exp()

    def scale(self) -> Float[Tensor, " *size"]:
        """In the residual's unit."""
        return learnt_scale(widened(self.latent_scale), self._scale.start, self.scale_floor)

    def extra_repr(self) -> str:
        return f"{self.size}, scale={self._scale}"


Likelihood = AdaptiveLoss | StudentTLoss
