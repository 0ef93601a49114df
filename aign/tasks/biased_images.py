"""What super-resolution and inpainting share: images, biased memories, the loss, the judge of the bias, files."""

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Le
from matplotlib.figure import Figure
from torch import Tensor, nn

from aign.data.cache import shared_cache
from aign.data.image_folders import load_image_folder
from aign.data.image_splits import ChosenImages, ImageOptions, choose, has_numbers, with_numbers
from aign.data.image_streams import ImageBatch, ImageStream, as_floats, image_memory
from aign.data.images import ImageSet
from aign.data.streams import Sample, draw, rows
from aign.discriminators.images import ImageDiscriminator
from aign.errors import NotTrainable
from aign.evaluation.attributes import AttributeClassifier, Classifier
from aign.evaluation.distribution import set_metrics
from aign.evaluation.face_picture import draw_faces, write_images
from aign.evaluation.features import RandomFeatures, features_of, trained_features
from aign.evaluation.image import psnr_db, ssim
from aign.evaluation.judges import check_judge, learn_judge
from aign.evaluation.result import Summary
from aign.generators.images import Upsampling, WithDecoder, initialise
from aign.losses.adaptive import one_spelling, robust_loss
from aign.losses.schedules import Scheduled
from aign.memories import Memory
from aign.options import Blocks, Changeable, Channels, Weight, check_effect, make_absolute
from aign.renderers.image import LearntRenderer
from aign.tasks.parts import (
    Data,
    Discriminator,
    Evaluator,
    Factors,
    Files,
    LoadedData,
    Metadata,
    Model,
    Objective,
    Observed,
    Terms,
    UserInput,
)
from aign.tasks.stages import Preset, Stage

NUM_MEASURED = 256
"""Images of a split that are measured, evenly spread over it."""
MOST_DB = 100.0
"""What equal images count as in metrics, dB: their infinity has no mean and no place in JSON."""
PICTURED = 6
"""Samples in a picture."""
FEATURES, TRUTH = "features", "true images"
_ATTRIBUTE = re.compile(r"\s*`?(\w+)`?\s*==\s*(-?1|0)\s*")

AIGN_TRAINING = {"generator_lr": 4e-4, "discriminator_lr": 1e-3, "r1": 0.1, "ema": 0.99, "batch_size": 16}
"""The discriminator learns faster (Heusel et al., NeurIPS 2017): a slow one is fooled by noise of fine grain."""
AIGN = Preset(summary="reconstruction and memories", training=AIGN_TRAINING)
PARAMETRIC = Preset(
    summary="as aign, with a learnt decoder in the renderer's place (Figure 7)",
    task={"decoder": "learnt"},
    training=AIGN_TRAINING,
)
PAPER_NETWORKS = {
    "width": 64,
    "discriminator_width": 64,
    "upsampling": "deconvolution",
    "discriminator_batch_norm": True,
    "initial_variance": 0.02,
}
PAPER_TRAINING = {
    "batch_size": 16,
    "generator_lr": 1e-4,
    "discriminator_lr": 1e-4,
    "betas": (0.9, 0.999),
    "update_rule": "paper",
}
"""Appendix B.2 to B.4; Adam's decay rates are its own defaults."""


@dataclass(frozen=True, kw_only=True)
class BiasedImageConfig(ImageOptions):
    """Options that super-resolution and inpainting share."""

    bias: str = ""
    """Which images are remembered, an expression over the table: "Old == 1 and Beard == -1"; empty: all."""
    judge_attribute: Changeable[str] = ""
    """What a judge looks for in inferred images, such as "Old == 1"; empty: the bias, if it is about one attribute."""
    features: Changeable[str] = ""
    """What FID, KID and content are measured on: empty for random filters that are always the same, or the file of a
    classifier saved by aign.evaluation.attributes."""
    beta: Weight = 0.02
    """Weight of the adversarial loss beside the reconstruction: beta of Eq. 1; 0 switches memories off."""
    alpha: Scheduled = "fixed:2"
    """Shape of the robust reconstruction loss: 2 is L2 as in the paper, 1 Charbonnier, 0 Cauchy. fixed:1, linear:2:0,
    cosine:2:-2, gnc, piecewise:0=2,0.5=1,1=0, steps:0=2,0.5=1, or adaptive:0:2 (learnt)."""
    scale: Scheduled = "fixed:0.1"
    """Where the reconstruction loss stops being quadratic, 1 is white: fixed:0.1, linear:0.2:0.05, or adaptive:0.1."""
    width: Annotated[int, Ge(1), Le(4096)] = 32
    """Channels of the generator's first layers, or units of fully connected ones."""
    num_blocks: Blocks = 4
    """Residual blocks of the generator."""
    upsampling: Upsampling = "resize"
    """How the generator doubles sides: resize and convolve, or deconvolution as in the paper."""
    decoder: Literal["renderer", "learnt"] = "renderer"
    """What makes the observed of the inferred image: the parameter-free renderer, or a network that learns it."""
    discriminator_width: Channels = 32
    """Channels of the discriminator's first layer."""
    discriminator_batch_norm: bool = False
    """Batch norm in the discriminator, as in the paper."""
    initial_variance: Annotated[float, Ge(0), Le(100)] = 0.0
    """Variance of the truncated normal distribution of initial weights, 0.02 in the paper; 0: PyTorch's own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size % 4:
            raise NotTrainable(f"size = {self.size}", "networks halve sides twice", f"use {self.size // 4 * 4 + 4}")
        make_absolute(self, "features")
        check_effect(self, "judge_attribute", self.data != "mnist", "with data 'mnist': its judge tells digits apart")
        if self.judge_attribute and not _ATTRIBUTE.fullmatch(self.judge_attribute):
            remedy = 'write "Old == 1", "Old == -1" or "Old == 0"'
            raise NotTrainable(
                f"judge_attribute = {self.judge_attribute}", "is not about one attribute, there or not", remedy
            )
        for name, spelling in zip(("alpha", "scale"), one_spelling(str(self.alpha), str(self.scale)), strict=True):
            object.__setattr__(self, name, spelling)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the images' table that decide what is observed of an image."""
        return ()


class BiasedImageData(Data):
    """Images to infer from, and memories of other people's, selected by a bias."""

    def __init__(self, config: BiasedImageConfig) -> None:
        self.config, self.chosen = config, _choose(config)
        self.memory = image_memory(self.chosen.memories, bias=config.bias or None)

    @property
    def metadata(self) -> Metadata:
        return {"data": f"{self.chosen.name}, {self._said}", "size": list(self.chosen.inputs.pixels.shape[1:])}

    @property
    def _said(self) -> str:
        """Which memories, and how many."""
        return f"memories {self.config.bias or 'of any kind'} ({len(self.memory):,} of {len(self.chosen.memories):,})"

    @classmethod
    def check(cls, config: BiasedImageConfig) -> list[str]:
        data = cls(config)
        chosen = data.chosen
        if config.features:
            trained_features(config.features)
        if config.judge_attribute:
            check_judge(config.data, chosen, str(_sought(config)[0]))
        if shared_cache():  # or else each machine would learn it, while others wait
            _judge(config, chosen, "cpu")
        counts = f"{len(chosen.inputs):,} inputs, {len(chosen.validation):,} validation, {len(chosen.test):,} test"
        return [*chosen.inputs.warnings, f"{chosen.name}: {counts}, {data._said}"]

    def load(self, model: "BiasedImageModel", device: torch.device) -> LoadedData:
        return LoadedData(
            source=self,
            streams={"inputs": model.stream(self.chosen.inputs, device)},
            memories={"images": self.memory.to(device)},
            validation=model.stream(self.chosen.validation, device, labelled=True).fixed(NUM_MEASURED),
            test=model.stream(self.chosen.test, device, labelled=True).fixed(NUM_MEASURED),
        )


class BiasedImageModel(Model):
    """A generator of images, and a renderer that observes them; subclasses say what is observed of an image."""

    num_discriminator_layers: ClassVar[int]
    rendered_of: ClassVar[str] = "image"
    """The factor that is rendered."""
    process: nn.Module
    """How an image is observed, without parameters; the renderer, unless a decoder is learnt."""

    def __init__(self, config: Any, metadata: Metadata) -> None:
        channels, height, width = metadata["size"]
        self.config, self.size = config, (channels, height, width)
        self.generator, self.renderer = self.network(), self.process
        if config.decoder == "learnt":
            self.generator = WithDecoder(self.generator, self.learnt_decoder(), reads=self.rendered_of)
            self.renderer = LearntRenderer()
        if config.initial_variance:
            initialise(self.generator, config.initial_variance)
        # in the generator, because what it learns is learnt with it
        self.generator.reconstruction_loss = robust_loss(config.alpha, config.scale)

    @abstractmethod
    def network(self) -> nn.Module:
        """The generator's network."""

    @abstractmethod
    def learnt_decoder(self) -> nn.Module:
        """What takes the renderer's place if it is learnt: logits of the observed from the factor ``rendered_of``."""

    @abstractmethod
    def observe(self, known: ImageBatch, random: Tensor) -> Observed:
        """What is observed of images."""

    def sees(self, factors: Factors) -> Tensor:
        """What the discriminator sees of inferred or remembered factors."""
        return factors["image"]

    def stream(self, images: ImageSet, device: torch.device | str, *, labelled: bool = False) -> ImageStream:
        """Images, and what is observed of them."""
        return ImageStream(images, device, columns=self.config.columns, observe=self.observe, labelled=labelled)

    def discriminators(self, memories: Mapping[str, Memory]) -> Mapping[str, Callable[[], Discriminator]]:
        return {"image": partial(self._discriminator, memories["images"])}

    def _discriminator(self, memory: Memory) -> Discriminator:
        network = ImageDiscriminator(
            self.size,
            width=self.config.discriminator_width,
            num_layers=self.num_discriminator_layers,
            batch_norm=self.config.discriminator_batch_norm,
        )
        if self.config.initial_variance:
            initialise(network, self.config.initial_variance)
        return Discriminator(network=network, sees=self.sees, memory=memory)


class BiasedImageObjective(Objective):
    """Reconstruction, and memories."""

    @classmethod
    def plan(cls, config: Any) -> list[Stage]:
        weights = {"reconstruction": 1.0} | ({"adversarial/image": config.beta} if config.beta else {})
        return [Stage(name="imagination", share=1.0, unlabelled=("inputs",), weights=weights)]

    def reconstruction(self, rendered: Observed, observed: Observed, done: float) -> Terms:
        """Robust error of rendered pixels, the mean over those that are visible; a learnt decoder has to learn to hide
        the others too."""
        residual = rendered["image"] - observed["image"]
        robust: Any = self.model.generator.reconstruction_loss
        loss = robust(residual.flatten(), done).view_as(residual)
        if "mask" in observed and self.config.decoder == "renderer":
            visible = observed["mask"].expand_as(loss)
            # each image counts the same, so that workers' means are the batch's
            loss = (loss * visible).flatten(1).sum(1) / visible.flatten(1).sum(1).clamp(min=1)
        return {"reconstruction": loss.mean()} | robust.changing


class BiasedImageEvaluator(Evaluator):
    """Distances to the true images, to memories, and what a judge sees."""

    selection_metric: ClassVar[str] = "mean_absolute_error_percent"
    """Between inferred and true images. It rewards what is preserved and not the bias, for which no number is right
    for all runs, and which is told beside it (``bias_percent``)."""
    title: ClassVar[str]
    baseline: ClassVar[str]
    """What is inferred by one who has learnt nothing."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        if self.loaded and shared_cache():
            _ = self.judge  # fetched now: the store may be away when it is first asked for, in the middle of a run

    @abstractmethod
    def guess(self, observed: Observed) -> Factors:
        """The ``baseline``'s factors."""

    @abstractmethod
    def enlarged(self, images: Tensor) -> Tensor:
        """Observed or rendered images in the size of inferred ones."""

    def errors(self, inferred: Factors, samples: Sample) -> dict[str, Tensor]:
        """Metrics of inferred factors that need no judge, one number a sample."""
        truth, observed = samples["truth"]["image"], samples["observed"]["image"]
        again = self.model.process(inferred, samples["observed"])["image"]
        return {
            "consistency_psnr_db": psnr_db(again, observed).clamp(max=MOST_DB),
            "consistency_ssim": ssim(again, observed),
            "psnr_db": psnr_db(inferred["image"], truth).clamp(max=MOST_DB),
            "mean_absolute_error_percent": 100 * (inferred["image"] - truth).abs().flatten(1).mean(1),
        }

    def measure(self, inferred: Factors, samples: Sample) -> dict[str, Tensor]:
        observed, truth, guess = samples["observed"], samples["truth"]["image"], self.guess(samples["observed"])
        recovered = {}
        if "rendered" in inferred:
            recovered["recovered_psnr_db"] = psnr_db(inferred["rendered"], observed["image"]).clamp(max=MOST_DB)
        return {
            **self.errors(inferred, samples),
            **recovered,
            **self._judged(inferred["image"], truth),
            FEATURES: features_of(inferred["image"], self.extractor),
            f"{TRUTH}/{FEATURES}": features_of(truth, self.extractor),
            **{f"{self.baseline}/{name}": values for name, values in self.errors(guess, samples).items()},
            f"{self.baseline}/{FEATURES}": features_of(guess["image"], self.extractor),
        }

    def _judged(self, images: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """What the judge sees in inferred images, in percent, and in the true ones."""
        if self.judge is None:
            return {}
        seen, in_truth = self.judge.classes(images), self.judge.classes(truth)
        if not isinstance(self.judge, AttributeClassifier):
            return {"same_digit_percent": 100.0 * (seen == in_truth)}
        wanted = _sought(self.config)[1]
        return {"bias_percent": 100.0 * (seen == wanted), f"{TRUTH}/bias_percent": 100.0 * (in_truth == wanted)}

    @cached_property
    def judge(self) -> Classifier | None:
        """Learnt when first asked for; None where nothing can be judged: what can be are digits, and one attribute that
        is ``judge_attribute``."""
        return _judge(self.config, self.data.source.chosen, self.data.validation["truth"]["image"].device)

    def summarize(self, measured: dict[str, Tensor]) -> Summary:
        """Means over samples, and what is measured of sets: FID and KID to the memories, and the share of images whose
        nearest true image is their own."""
        by_owner: dict[str, dict[str, float]] = {}
        for name, values in measured.items():
            owner, _, metric = name.rpartition("/")
            if metric == FEATURES:
                truth = measured[f"{TRUTH}/{FEATURES}"]
                by_owner.setdefault(owner, {}).update(set_metrics(values, self.memory_features, truth))
            else:
                by_owner.setdefault(owner, {})[metric] = values.double().mean().item()
        notes = f"judge of {self.judge.subject} {100 * self.judge.accuracy:.0f} % right" if self.judge else ""
        return Summary(num_samples=rows(measured), metrics=by_owner.pop(""), baselines=by_owner, notes=notes)

    @cached_property
    def extractor(self) -> nn.Module:
        chosen = trained_features(self.config.features) if self.config.features else RandomFeatures()
        return chosen.to(self.data.validation["truth"]["image"].device)

    @cached_property
    def memory_features(self) -> Tensor:
        """Of as many memories as images are measured, evenly spread; of all, if there are fewer."""
        pixels = self.data.memories["images"].samples["image"]
        chosen = torch.linspace(0, len(pixels) - 1, min(NUM_MEASURED, len(pixels))).round().long()
        return features_of(as_floats(pixels[chosen.to(pixels.device)]), self.extractor)

    def picture(self, inferred: Factors, samples: Sample) -> Figure:
        chosen = torch.linspace(0, rows(inferred) - 1, min(PICTURED, rows(inferred))).round().long()

        def pick(group: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: values[chosen.to(values.device)] for name, values in group.items()}

        pictured, observed = pick(inferred), pick(samples["observed"])
        with torch.no_grad():
            rendered = self.model.renderer(pictured, observed)["image"]
        return draw_faces(
            observed=self.enlarged(observed["image"]),
            rendered=self.enlarged(rendered),
            inferred=pictured["image"],
            remembered=self._recall(len(chosen)),
            truth=pick(samples["truth"])["image"] if "truth" in samples else None,
            notes=[f"{value:.1f} dB" for value in psnr_db(rendered, observed["image"]).tolist()],
            title=f"{self.title}{':' if 'truth' in samples else ', learnt from'} {self.metadata['data']}",
        )

    def _recall(self, count: int) -> Tensor | None:
        """Some remembered images; a restored task has none."""
        if self.loaded is None:
            return None
        return draw("picture", self.data.memories["images"], count, seed=0, step=0)["factors"]["image"]


class BiasedImageFiles(Files):
    """Images in, images out."""

    def read(self, path: Path) -> UserInput:
        """All images of a folder, in the order of their names, and what is observed of them."""
        images = load_image_folder(path, size=self.model.size[1])
        if columns := self.config.columns:
            reason = "has no landmarks in a table beside it"
            images = images.fit(has_numbers(images, columns), reason)
        images = images.grey() if self.model.size[0] == 1 else images
        return UserInput.of_images(images, self.model.stream(images, "cpu").fixed(len(images)))

    def write(self, inferred: Factors, own: UserInput, folder: Path) -> list[Path]:
        """The inferred images, called as those that were read, and ``grid.png`` of all of them."""
        return write_images(inferred["image"], folder, own.names)


def _choose(config: BiasedImageConfig) -> ChosenImages:
    chosen, columns = choose(config.load(), config.bias), config.columns
    if not columns:
        return chosen
    inputs, validation, test = (
        with_numbers(images, columns) for images in (chosen.inputs, chosen.validation, chosen.test)
    )
    return replace(chosen, inputs=inputs, validation=validation, test=test)


def _judge(config: BiasedImageConfig, chosen: ChosenImages, device: torch.device | str) -> Classifier | None:
    return learn_judge(config.data, chosen, _sought(config)[0], device, needed=bool(config.judge_attribute))


def _sought(config: BiasedImageConfig) -> tuple[str | None, int]:
    """The attribute that is looked for, if it is one, and 1 if it is to be there or 0 if not."""
    match = _ATTRIBUTE.fullmatch(config.judge_attribute or config.bias)
    return (match[1], int(match[2] == "1")) if match else (None, 0)
