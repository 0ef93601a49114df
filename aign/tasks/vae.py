"""A variational autoencoder of images, under four distributions of what it misses (Barron, CVPR 2019, section 3.1).

observed     an image, and standard normal noise that latents are drawn with
inferred     mean and log variance of its latents, and the image that they decode to
rendered     that image
remembered   nothing: a normal prior of latents takes the place of memories

Residuals are transformed (pixels, cosines, wavelets, with or without YUV), and every coefficient has its own scale and,
in two of the distributions, its own shape, all learnt with the networks by maximising the evidence lower bound. All
representations preserve volume, so that their bounds compare.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt, Le, Lt
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from aign.data.image_splits import ImageOptions
from aign.data.image_streams import ImageBatch, ImageStream, as_floats
from aign.data.streams import Sample, rows
from aign.data.user_images import read_user_images
from aign.errors import NotTrainable
from aign.evaluation.face_picture import write_images
from aign.evaluation.image import WINDOW_PX, psnr_db, ssim
from aign.evaluation.vae_picture import ShapeMap, draw_reconstructions
from aign.generators.vae import VAE
from aign.losses.density import normal_nll
from aign.losses.likelihoods import Distribution, make_likelihood
from aign.losses.representations import Representation, parse_representation
from aign.options import Channels, Samples, Units
from aign.tasks.base import TaskKind
from aign.tasks.parts import (
    Data,
    Evaluator,
    Factors,
    Files,
    GeneratorPart,
    LoadedData,
    Metadata,
    Model,
    Objective,
    Observed,
    Terms,
    UserInput,
)
from aign.tasks.stages import Preset, Stage

NUM_MEASURED = 1000
"""Images of a split that are measured, evenly spread over it."""
NUM_FOR_BASELINE = 2000
"""Training images that the baseline is fitted to."""
AT_ONCE = 256
"""Images whose likelihoods are computed at a time, which bounds memory."""
PICTURED = 6
"""Samples in a picture."""
MOST_LEVELS = 5
"""Levels of wavelets unless said otherwise, if images have so many."""
DIGIT_SIZE = 28

Images = Float[Tensor, "batch channels height width"]


@dataclass(frozen=True, kw_only=True)
class VAEConfig(ImageOptions):
    """Options of the variational autoencoder."""

    size: Annotated[int, Ge(WINDOW_PX), Le(2048)] = 32
    """Width and height that images are resized to, px; MNIST's are 28."""
    num_images: Samples = 8000
    """Data `generated`: how many faces are drawn; 80 % are for training."""
    dequantization_noise: Annotated[float, Gt(0), Lt(1)] = 0.03125
    """Width of the uniform noise that is mixed into images, of which drawings have none: without it the density of what
    never varies has no bound. 1/256 is that of bytes."""
    distribution: Distribution = "general"
    """Of residuals: normal, cauchy, student-t (learns its degrees of freedom) or general (learns its alpha)."""
    representation: str = "auto"
    """What residuals are transformed to: pixels, dct, wavelet:5, or in colour yuv+dct or yuv+wavelet:5. auto: wavelets,
    with yuv where there are colours."""
    latent_size: Units = 64
    """Numbers that an image is encoded in."""
    width: Channels = 16
    """Channels of the networks' layers at full size."""
    scale: Annotated[float, Gt(0), Le(1000)] = 0.3
    """Where learnt scales start, 1 is white; 0.01 in the paper, at which all that is large counts as an outlier."""
    likelihood_lr_factor: Annotated[float, Gt(0), Le(1000)] = 10.0
    """Learning rate of scales and shapes, in units of generator_lr. Adam moves a parameter by its learning rate a step,
    and scales have far to go."""

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            self.transform()(torch.zeros(1, *self.image_shape))
        except ValueError as error:  # yuv of grey images
            remedy = "leave yuv out for grey images"
            raise NotTrainable(f"representation = {self.representation}", str(error), remedy) from None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return (1, DIGIT_SIZE, DIGIT_SIZE) if self.data == "mnist" else (3, self.size, self.size)

    def transform(self) -> Representation:
        """What residuals are transformed to. Raises UserError for a spelling that means nothing."""
        if self.representation != "auto":
            return parse_representation(self.representation)
        channels, height, _ = self.image_shape
        levels = min(MOST_LEVELS, (height - 1).bit_length())
        return parse_representation(f"{'yuv+' if channels == 3 else ''}wavelet:{levels}")


PRESETS = {
    "general": Preset(
        summary="the general distribution of wavelet coefficients; --distribution and --representation change it",
        training={"batch_size": 64, "generator_lr": 4e-3, "betas": (0.9, 0.99), "lr_schedule": "cosine"},
    ),
}


class VAEData(Data):
    """Images, with noise that latents are drawn with."""

    def __init__(self, config: VAEConfig) -> None:
        self.config, self.images = config, config.load()

    @property
    def metadata(self) -> Metadata:
        return {"data": self.images.name}

    @classmethod
    def check(cls, config: VAEConfig) -> list[str]:
        images = config.load()
        return [*images.warnings, images.counted()]

    def load(self, model: "VAEModel", device: torch.device) -> LoadedData:
        return LoadedData(
            source=self,
            streams={"images": self._stream("train", model, device)},
            validation=self._measured("validation", model, device),
            test=self._measured("test", model, device),
        )

    def _measured(self, split: str, model: "VAEModel", device: torch.device) -> Sample:
        """Fixed samples, also with noise that images are imagined from."""
        samples = self._stream(split, model, device).fixed(NUM_MEASURED)
        samples["observed"]["prior_noise"] = samples["observed"]["noise"].roll(1, dims=0)
        return samples

    def _stream(self, split: str, model: "VAEModel", device: torch.device) -> ImageStream:
        images = self.images.split(split)
        return ImageStream(
            images,
            device,
            observe=model.photograph,
            num_random=images.pixels[0].numel(),
            num_noise=self.config.latent_size,
        )


class VAEModel(Model):
    """Encoder, decoder, and the distribution of residuals."""

    generator: VAE

    def __init__(self, config: VAEConfig, metadata: Metadata) -> None:
        self.config, self.transform = config, config.transform()
        shape = config.image_shape
        self.generator = VAE(
            shape,
            latent_size=config.latent_size,
            width=config.width,
            likelihood=make_likelihood(config.distribution, shape, scale=config.scale),
        )

    @property
    def generator_parts(self) -> dict[str, GeneratorPart]:
        return {"likelihood": GeneratorPart(lr_factor=self.config.likelihood_lr_factor)}

    def photograph(self, known: ImageBatch, random: Tensor) -> Observed:
        """The image with its grain, still in [0, 1]."""
        return {"image": torch.lerp(known["image"], random.view_as(known["image"]), self.config.dequantization_noise)}

    def nll(self, rendered: Images, observed: Images) -> Float[Tensor, " batch"]:
        """-log p(image | latents), nats an image."""
        return self.generator.likelihood(self.transform(rendered - observed)).sum((1, 2, 3))

    def example(self, count: int, random: torch.Generator) -> Observed:
        images = torch.rand(count, *self.config.image_shape, generator=random)
        return {"image": images, "noise": torch.randn(count, self.config.latent_size, generator=random)}


class VAEObjective(Objective):
    """The evidence lower bound."""

    model: VAEModel

    @classmethod
    def plan(cls, config: VAEConfig) -> list[Stage]:
        return [Stage(name="elbo", share=1.0, unlabelled=("images",), weights={"reconstruction": 1.0, "kl": 1.0})]

    def reconstruction(self, rendered: Observed, observed: Observed, done: float) -> Terms:
        """-log p(image | latents), nats an image, may be negative; beside it, means of learnt shapes and scales."""
        nll = self.model.nll(rendered["image"], observed["image"]).mean()
        return {"reconstruction": nll} | self.model.generator.likelihood.changing

    def priors(self, inferred: Factors) -> Terms:
        """How far latents are from the prior, nats an image."""
        return {"kl": kl_to_standard_normal(inferred["latent_mean"], inferred["latent_log_variance"]).mean()}


class VAEEvaluator(Evaluator):
    """Bounds and likeness, beside those of the mean image; its residuals are normal, each coefficient on its own.

    Means over samples; likelihoods and KL in nats an image.
    """

    selection_metric: ClassVar[str] = "negative_elbo"
    model: VAEModel

    @cached_property
    def baseline(self) -> tuple[Tensor, Tensor]:
        """The mean training image, and the deviation of each coefficient from it."""
        training: Any = self.data.streams["images"]
        typical = training.fixed(NUM_FOR_BASELINE)["observed"]["image"]
        mean = typical.mean(0)
        return mean, self.model.transform(typical - mean).square().mean(0).sqrt()

    def measure(self, inferred: Factors, samples: Sample) -> dict[str, Tensor]:
        mean_image, deviations = self.baseline
        rendered = self.model.renderer(inferred, samples["observed"])["image"]
        observed = samples["observed"]["image"]
        kl = kl_to_standard_normal(inferred["latent_mean"], inferred["latent_log_variance"])
        pieces = zip(rendered.split(AT_ONCE), observed.split(AT_ONCE), strict=True)
        nll = torch.cat([self.model.nll(*piece) for piece in pieces])
        guessed = normal_nll(self.model.transform(observed - mean_image), deviations).sum((1, 2, 3))
        return {
            **_bound(nll + kl),
            "kl": kl,
            **_likeness(rendered, observed),
            **{
                f"mean image/{name}": values
                for name, values in (_bound(guessed) | _likeness(mean_image.expand_as(observed), observed)).items()
            },
        }

    def picture(self, inferred: Factors, samples: Sample) -> Figure:
        chosen = torch.linspace(0, rows(inferred) - 1, min(PICTURED, rows(inferred))).round().long()

        def pick(images: Tensor) -> Tensor:
            return images[chosen.to(images.device)]

        observed = pick(samples["observed"]["image"])
        rendered = pick(self.model.renderer(inferred, samples["observed"])["image"])
        is_measured = "imagined" in inferred
        return draw_reconstructions(
            observed=observed,
            rendered=rendered,
            imagined=pick(inferred["imagined"]) if is_measured else None,
            notes=[f"{value:.1f} dB" for value in psnr_db(rendered, observed).tolist()],
            shape=self._shape_map(),
            title=f"variational autoencoder{':' if is_measured else ', learnt from'} {self.metadata['data']}, "
            f"{self.config.distribution}, {self.model.transform}",
        )

    def _shape_map(self) -> ShapeMap | None:
        """The learnt shape of each coefficient as it last was; None where there is none, or none was computed yet."""
        latest, spelling = self.model.generator.likelihood.latest, str(self.model.transform)
        name = next((name for name in SHAPES if name in latest), None)
        if name is None:
            return None
        colours = ("Y", "U", "V") if "yuv" in spelling else ("red", "green", "blue")
        return ShapeMap(
            values=latest[name],
            channels=colours if len(latest[name]) == 3 else (),
            view="of each pixel"
            if spelling in ("pixels", "yuv")
            else "of each coefficient, coarse ones at the top left",
            **SHAPES[name],
        )


class VAEFiles(Files):
    """Images in, images out."""

    def read(self, path: Path) -> UserInput:
        """Images in the middle of their grain; latents are not drawn but the most likely ones."""
        own = read_user_images(path, self.config.image_shape)
        images = as_floats(own.pixels)
        random = torch.full_like(images, 0.5)
        noise = images.new_zeros(len(images), self.config.latent_size)
        return UserInput.of_images(
            own, {"observed": {**self.model.photograph({"image": images}, random), "noise": noise}}
        )

    def write(self, inferred: Factors, own: UserInput, folder: Path) -> list[Path]:
        """The rendered images without grain, called as those that were read, and ``grid.png`` of all of them."""
        grain = self.config.dequantization_noise
        rendered = self.model.renderer(inferred, own.sample["observed"])["image"]
        return write_images((rendered - 0.5 * grain) / (1 - grain), folder, own.names)


SHAPES: dict[str, dict[str, Any]] = {
    "alpha": {
        "name": "alpha",
        "limits": (0.0, 3.0),
        "ticks": {0.0: "0 Cauchy", 1.0: "1", 2.0: "2 normal", 3.0: "3"},
    },
    "degrees": {
        "name": "degrees of freedom",
        "limits": (0.3, 300.0),
        "logarithmic": True,
        "ticks": {1.0: "1 Cauchy", 10.0: "10", 100.0: "100 normal"},
    },
}
"""How learnt shapes are shown, by their names in likelihoods."""


def kl_to_standard_normal(
    mean: Float[Tensor, "batch latents"], log_variance: Float[Tensor, "batch latents"]
) -> Float[Tensor, " batch"]:
    """Kullback-Leibler divergence of independent normal distributions from standard normal ones, nats.

    Kingma and Welling, 2014, appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


def _bound(negative_elbo: Tensor) -> dict[str, Tensor]:
    return {"negative_elbo": negative_elbo, "elbo": -negative_elbo}


def _likeness(images: Images, truth: Images) -> dict[str, Tensor]:
    return {"psnr_db": psnr_db(images, truth), "ssim": ssim(images, truth)}


VAE_TASK = TaskKind(
    name="vae",
    Config=VAEConfig,
    presets=PRESETS,
    data=VAEData,
    model=VAEModel,
    objective=VAEObjective,
    evaluator=VAEEvaluator,
    files=VAEFiles,
)
