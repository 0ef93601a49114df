"""Digits told apart by a small residual network: what the compression of networks is judged on.

observed     an image of a digit, light ink on a dark ground
inferred     logits of the ten digits
rendered     nothing: every image has a label
remembered   nothing
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pandas as pd
import torch
from annotated_types import Ge, Le, Lt
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from aign.data.digits import NUM_KINDS, SIZE, digit_set, generated_digits, load_digits
from aign.data.image_folders import load_image_folder
from aign.data.image_streams import ImageBatch, ImageStream, as_floats, shifted
from aign.data.images import ImageSet
from aign.data.skipped import printable
from aign.data.streams import Sample, rows
from aign.evaluation.class_picture import Guesses, draw_guesses
from aign.generators.classifier import ResidualClassifier
from aign.options import Channels, CheckedOptions, Samples
from aign.tasks.base import TaskKind
from aign.tasks.parts import (
    Data,
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

WORLD_SEED = 0
"""Digits belong to the data, not to a run."""
PICTURED, MISTAKES = 30, 10
"""Samples in a picture, and mistakes in it."""
BASELINE = "always the most frequent"


@dataclass(frozen=True, kw_only=True)
class DigitsConfig(CheckedOptions):
    """Options of the classifier of digits."""

    data: Literal["generated", "mnist"] = "generated"
    """generated: scribbles of ten kinds that stand in for digits; mnist: real digits in the folder named by
    AIGN_DATA."""
    num_images: Samples = 10_000
    """Images to learn from; MNIST has 60000, of which the validation images are others."""
    num_validation: Samples = 2000
    """Validation images."""
    num_test: Samples = 2000
    """Test images; MNIST has 10000."""
    width: Channels = 16
    """Channels of the first group of blocks; the second has twice, the third four times as many."""
    num_blocks: Annotated[int, Ge(1), Le(256)] = 2
    """Residual blocks in each of the three groups."""
    shift_px: Annotated[int, Ge(0), Lt(SIZE)] = 2
    """Training images are moved at random, by up to so many pixels along each side."""

    def load(self) -> ImageSet:
        """All digits. Raises UserError for data that is missing or unsound, and too few digits."""
        sizes = {"train": self.num_images, "validation": self.num_validation, "test": self.num_test}
        splits = [split for split, size in sizes.items() for _ in range(size)]
        if self.data == "mnist":
            learnt = load_digits("train", self.num_images + self.num_validation, WORLD_SEED)
            return digit_set("MNIST", [learnt, load_digits("test", self.num_test, WORLD_SEED)], splits)
        seeds = {"train": WORLD_SEED, "test": WORLD_SEED + 1, "validation": WORLD_SEED + 2}
        digits = [generated_digits(size, seeds[split]) for split, size in sizes.items()]
        return digit_set("generated scribbles", digits, splits)


PRESETS = {
    "resnet": Preset(
        summary="a residual network of basic blocks",
        training={"batch_size": 128, "generator_lr": 2e-3, "betas": (0.9, 0.99), "lr_schedule": "cosine"},
    ),
}


class DigitsData(Data):
    """Digits with labels."""

    def __init__(self, config: DigitsConfig) -> None:
        self.config, self.images = config, config.load()
        self.most_frequent = int(self.images.split("train").table["label"].mode()[0])

    @property
    def metadata(self) -> Metadata:
        return {"data": self.images.name}

    @classmethod
    def check(cls, config: DigitsConfig) -> list[str]:
        return [config.load().counted()]

    def load(self, model: Model, device: torch.device) -> LoadedData:
        def stream(split: str, **how: Any) -> ImageStream:
            return ImageStream(self.images.split(split), device, columns=("label",), labelled=True, **how)

        return LoadedData(
            source=self,
            streams={"digits": stream("train", observe=self._moved, num_random=2)},
            validation=stream("validation").fixed(self.config.num_validation),
            test=stream("test").fixed(self.config.num_test),
        )

    def _moved(self, known: ImageBatch, random: Tensor) -> Observed:
        return {"image": shifted(known["image"], random, self.config.shift_px)}


class DigitsModel(Model):
    """A residual network."""

    def __init__(self, config: DigitsConfig, metadata: Metadata) -> None:
        self.generator: nn.Module = ResidualClassifier(1, NUM_KINDS, config.width, config.num_blocks)

    def example(self, count: int, random: torch.Generator) -> Observed:
        return {"image": torch.rand(count, 1, SIZE, SIZE, generator=random)}


class DigitsObjective(Objective):
    """Cross entropy."""

    @classmethod
    def plan(cls, config: DigitsConfig) -> list[Stage]:
        return [Stage(name="supervised", share=1.0, labelled=("digits",), weights={"supervision/class": 1.0})]

    def supervision(self, inferred: Factors, truth: Factors) -> Terms:
        """Cross entropy, nats."""
        return {"supervision/class": cross_entropy(inferred["logits"], truth["label"].long())}


class DigitsEvaluator(Evaluator):
    """Errors, beside those of one who always says the most frequent class of the training images; cross entropy in
    nats."""

    selection_metric: ClassVar[str] = "error_percent"

    def measure(self, inferred: Factors, samples: Sample) -> dict[str, Tensor]:
        logits, label = inferred["logits"], samples["truth"]["label"].long()
        baseline = _rightness(label == self.data.source.most_frequent)
        return {
            **_rightness(logits.argmax(1) == label),
            "cross_entropy": cross_entropy(logits, label, reduction="none"),
            **{f"{BASELINE}/{name}": values for name, values in baseline.items()},
        }

    def picture(self, inferred: Factors, samples: Sample) -> Figure:
        """Some samples and, where the truth is known, the mistakes that the network is surest of."""
        confidence, guess = inferred["logits"].softmax(1).max(1)
        label = samples["truth"]["label"].long() if "truth" in samples else None

        def pick(chosen: Tensor) -> Guesses:
            return Guesses(
                images=samples["observed"]["image"][chosen],
                classes=guess[chosen],
                confidences=confidence[chosen],
                truth=None if label is None else label[chosen],
            )

        count = rows(inferred)
        spread = torch.linspace(0, count - 1, min(PICTURED, count)).round().long().to(guess.device)
        groups = {f"{len(spread)} of {count:,} samples, with the inferred class and how sure it is": pick(spread)}
        if label is not None:
            wrong = (guess != label).nonzero()[:, 0]
            surest = wrong[confidence[wrong].argsort(descending=True)][:MISTAKES]
            groups[f"{len(surest)} of {len(wrong):,} mistakes, the surest first"] = pick(surest)
        title = f"classified digits{', learnt from' if label is None else ':'} {self.metadata['data']}"
        return draw_guesses(groups, title=title)


class DigitsFiles(Files):
    """Images of digits in, a table of classes out."""

    def read(self, path: Path) -> UserInput:
        """All images of a folder, in the order of their names: the middle square of each, small and grey.

        Images whose ground is light are skipped.
        """
        images = load_image_folder(path, size=SIZE).grey()
        is_dark = (as_floats(images.pixels).mean((1, 2, 3)) <= 0.5).numpy()
        images = images.fit(is_dark, "is mostly light, the network knows light ink on dark ground: invert it")
        names = tuple(printable(file) for file in images.table["file"])
        return UserInput(sample=ImageStream(images).fixed(len(images)), names=names, skipped=images.skipped)

    def write(self, inferred: Factors, own: UserInput, folder: Path) -> list[Path]:
        """``predictions.csv``: the file of each image, its class and the confidence in it."""
        confidence, guess = inferred["logits"].softmax(1).max(1)
        table = pd.DataFrame({"file": own.names, "class": guess.cpu(), "confidence": confidence.cpu()})
        path = folder / "predictions.csv"
        table.to_csv(path, index=False)
        return [path]


def _rightness(right: Tensor) -> dict[str, Tensor]:
    return {"error_percent": 100.0 * ~right, "accuracy_percent": 100.0 * right}


DIGITS = TaskKind(
    name="digits",
    Config=DigitsConfig,
    presets=PRESETS,
    data=DigitsData,
    model=DigitsModel,
    objective=DigitsObjective,
    evaluator=DigitsEvaluator,
    files=DigitsFiles,
)
