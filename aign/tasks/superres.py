"""Biased super-resolution (paper, sections 2.3 and 3.3; appendix B.3).

observed     an image at a quarter of its height and width
inferred     the image
rendered     the inferred image, the mean of each 4 x 4 pixels
remembered   images of other people, of a kind: old, with a beard, one person
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from aign.data.image_streams import ImageBatch
from aign.errors import NotTrainable
from aign.evaluation.image import WINDOW_PX
from aign.generators.images import SuperResolver, decoder
from aign.renderers.image import Downsampler, downsampled
from aign.tasks.base import TaskKind
from aign.tasks.biased_images import (
    AIGN,
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

FACTOR = 4
"""How many times smaller the observed image is (section 2.3)."""


@dataclass(frozen=True, kw_only=True)
class SuperresConfig(BiasedImageConfig):
    """Options of super-resolution."""

    def __post_init__(self) -> None:
        super().__post_init__()
        side = self.size // FACTOR
        if side < WINDOW_PX:
            reason = f"what is observed would be {side} pixels wide, too small for SSIM"
            raise NotTrainable(f"size = {self.size}", reason, f"use {FACTOR * WINDOW_PX} or more")


PRESETS = {
    "aign": AIGN,
    "parametric": PARAMETRIC,
    "aign-paper": Preset(
        summary="the paper's networks, weights and update rule",
        task=PAPER_NETWORKS,
        training=PAPER_TRAINING,
    ),
}


class SuperresModel(BiasedImageModel):
    """A network that enlarges, and the mean of pixels."""

    num_discriminator_layers: ClassVar[int] = 5
    process = Downsampler(FACTOR)

    def network(self) -> nn.Module:
        config = self.config
        sizes = {"width": config.width, "num_blocks": config.num_blocks}
        return SuperResolver(self.size[0], **sizes, upsampling=config.upsampling)

    def learnt_decoder(self) -> nn.Module:
        return decoder(self.size[0], width=self.config.width, shrinks=True)

    def observe(self, known: ImageBatch, random: Tensor) -> Observed:
        return {"image": downsampled(known["image"], FACTOR)}

    def example(self, count: int, random: torch.Generator) -> Observed:
        channels, height, width = self.size
        return {"image": torch.rand(count, channels, height // FACTOR, width // FACTOR, generator=random)}


class SuperresEvaluator(BiasedImageEvaluator):
    """See BiasedImageEvaluator."""

    title: ClassVar[str] = "biased super-resolution"
    baseline: ClassVar[str] = "bilinear"

    def guess(self, observed: Observed) -> Factors:
        return {"image": interpolate(observed["image"], self.model.size[1:], mode="bilinear", align_corners=False)}

    def enlarged(self, images: Tensor) -> Tensor:
        return interpolate(images, self.model.size[1:], mode="nearest")


SUPERRES = TaskKind(
    name="superres",
    Config=SuperresConfig,
    presets=PRESETS,
    data=BiasedImageData,
    model=SuperresModel,
    objective=BiasedImageObjective,
    evaluator=SuperresEvaluator,
    files=BiasedImageFiles,
)
