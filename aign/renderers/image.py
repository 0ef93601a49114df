"""Images back to what was observed of them: smaller (paper, section 2.3), or with a part hidden (section 2.4)."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

Images = Float[Tensor, "batch channels height width"]
"""In [0, 1]."""


class Downsampler(nn.Module):
    """``image`` at a ``factor``-th of its height and width: the mean of each ``factor`` x ``factor`` pixels."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, inferred: dict[str, Tensor], observed: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"image": downsampled(inferred["image"], self.factor)}


class Masker(nn.Module):
    """P(G(x), m) = m * G(x): what is visible of ``whole``, black where the observed ``mask`` is 0."""

    def forward(self, inferred: dict[str, Tensor], observed: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"image": observed["mask"] * inferred["whole"]}


class LearntRenderer(nn.Module):
    """Renders nothing: hands on the ``rendered`` that a learnt decoder in the generator's module made.

    The paper's comparison (section 3.3, Figure 7 and appendix A) of renderers with parametric decoders.
    """

    def forward(self, inferred: dict[str, Tensor], observed: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"image": inferred["rendered"]}


def downsampled(images: Images, factor: int) -> Float[Tensor, "batch channels low_height low_width"]:
    """The mean of each ``factor`` x ``factor`` pixels. Raises ValueError for sides that are no multiple of it."""
    if images.shape[-1] % factor or images.shape[-2] % factor:
        raise ValueError(f"{tuple(images.shape[-2:])} pixels are no multiple of {factor}")
    return avg_pool2d(images, factor)
