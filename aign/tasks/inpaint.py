"""Biased inpainting (paper, sections 2.4 and 3.3; appendix B.4).

observed     an image with a part hidden, and the mask that says which: 0 where it is hidden
inferred     the whole image as imagined; the image, with what is visible superimposed on it
rendered     the observed mask times the whole image
remembered   complete images of other people, of a kind: with big lips, with a big nose
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from aign.data.digits import SIZE as DIGIT_SIZE
from aign.data.face_regions import Box, parse_hidden
from aign.data.image_streams import ImageBatch
from aign.data.streams import Sample
from aign.errors import NotTrainable
from aign.generators.images import DenseInpainter, Inpainter, completed, decoder, dense_decoder, filled
from aign.options import check_effect
from aign.renderers.image import Masker
from aign.tasks.base import TaskKind
from aign.tasks.biased_images import (
    AIGN,
    AIGN_TRAINING,
    MOST_DB,
    PAPER_NETWORKS,
    PAPER_TRAINING,
    PARAMETRIC,
    BiasedImageConfig,
    BiasedImageData,
    BiasedImageEvaluator,
    BiasedImageFiles,
    BiasedImageModel,
    BiasedImageObjective,
)
from aign.tasks.parts import Factors, Observed
from aign.tasks.stages import Preset

DIGITS = {"data": "mnist", "network": "fully-connected", "hidden": "box:8:8:20:20", "judged": "whole", "width": 512}
"""Appendix A, which says neither which part of a digit is obscured nor how wide the layers are."""
DIGITS_TRAINING = {
    **AIGN_TRAINING,
    "generator_lr": 1e-3,
    "discriminator_lr": 5e-4,
    "batch_size": 64,
    "lr_schedule": "cosine",
}


@dataclass(frozen=True, kw_only=True)
class InpaintConfig(BiasedImageConfig):
    """Options of inpainting."""

    hidden: str = "mouth"
    """What is hidden: mouth, nose or eyes, by the table's landmarks, or box:TOP:LEFT:BOTTOM:RIGHT, px: rows from TOP up
    to, not including, BOTTOM."""
    judged: Literal["image", "whole"] = "image"
    """What the discriminator sees: the image with what is visible superimposed, or as in the paper the whole image as
    imagined."""
    network: Literal["convolutional", "fully-connected"] = "convolutional"
    """fully-connected: as in the paper's comparison of decoders (appendix A)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        side = DIGIT_SIZE if self.data == "mnist" else self.size
        region = parse_hidden(self.hidden, side)
        if self.data == "mnist" and region.columns:
            raise NotTrainable(f"hidden = {self.hidden}", "MNIST has no landmarks", "give a box, box:8:8:20:20")
        convolutional = self.network == "convolutional"
        check_effect(self, "num_blocks", convolutional, "with a fully connected network")
        check_effect(self, "upsampling", convolutional, "with a fully connected network")

    @property
    def columns(self) -> tuple[str, ...]:
        return parse_hidden(self.hidden).columns


PRESETS = {
    "aign": AIGN,
    "parametric": PARAMETRIC,
    "aign-paper": Preset(
        summary="the paper's networks, weights and update rule",
        task=PAPER_NETWORKS | {"num_blocks": 0, "judged": "whole"},
        training=PAPER_TRAINING,
    ),
    "digits": Preset(
        summary="MNIST's digits, fully connected, with the renderer (appendix A)",
        task=DIGITS,
        training=DIGITS_TRAINING,
    ),
    "digits-parametric": Preset(
        summary="as digits, with a learnt decoder (Figure 8)",
        task=DIGITS | {"decoder": "learnt"},
        training=DIGITS_TRAINING,
    ),
}


class InpaintModel(BiasedImageModel):
    """A network that imagines the whole image, and the mask."""

    num_discriminator_layers: ClassVar[int] = 4
    rendered_of: ClassVar[str] = "whole"
    process = Masker()

    def network(self) -> nn.Module:
        config = self.config
        if config.network == "fully-connected":
            return DenseInpainter(self.size, width=config.width)
        return Inpainter(self.size[0], width=config.width, num_blocks=config.num_blocks, upsampling=config.upsampling)

    def learnt_decoder(self) -> nn.Module:
        if self.config.network == "fully-connected":
            return dense_decoder(self.size, width=self.config.width)
        return decoder(self.size[0], width=self.config.width, shrinks=False)

    def observe(self, known: ImageBatch, random: Tensor) -> Observed:
        return _behind(parse_hidden(self.config.hidden).mask(known), known["image"])

    def sees(self, factors: Factors) -> Tensor:
        """Memories are whole images; of what is inferred it is a choice."""
        return factors.get(self.config.judged, factors["image"])

    def example(self, count: int, random: torch.Generator) -> Observed:
        """The middle is hidden, whatever the run hides: there are no landmarks."""
        images = torch.rand(count, *self.size, generator=random)
        top, left = (side // 4 for side in self.size[1:])
        return _behind(Box(top=top, left=left, bottom=3 * top, right=3 * left).mask({"image": images}), images)


class InpaintEvaluator(BiasedImageEvaluator):
    """See BiasedImageEvaluator; and the error in the hole alone."""

    title: ClassVar[str] = "biased inpainting"
    baseline: ClassVar[str] = "colours around"

    def guess(self, observed: Observed) -> Factors:
        return completed(filled(observed), observed)

    def errors(self, inferred: Factors, samples: Sample) -> dict[str, Tensor]:
        truth, hidden = samples["truth"]["image"], 1 - samples["observed"]["mask"]
        squares = (hidden * (inferred["image"] - truth).square()).sum((1, 2, 3))
        in_hole = squares / (hidden.sum((1, 2, 3)) * truth.shape[1]).clamp(min=1)
        return {**super().errors(inferred, samples), "hole_psnr_db": (-10 * in_hole.log10()).clamp(max=MOST_DB)}

    def enlarged(self, images: Tensor) -> Tensor:
        return images


def _behind(mask: Tensor, images: Tensor) -> Observed:
    return {"image": mask * images, "mask": mask}


INPAINT = TaskKind(
    name="inpaint",
    Config=InpaintConfig,
    presets=PRESETS,
    data=BiasedImageData,
    model=InpaintModel,
    objective=BiasedImageObjective,
    evaluator=InpaintEvaluator,
    files=BiasedImageFiles,
)
