"""A judge of what images show: a small network, trained on labelled images that the judged networks have not seen.

A biased memory should change what is imagined. Whether it did is not for the discriminator to say, which was trained
on that memory; another network counts how many of the imagined images show the attribute (the "GAN-test" of Shmelkov,
Schmid and Alahari, ECCV 2018). It errs too: its ``accuracy`` on people it has not seen says how far to trust it.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pandas as pd
import torch
from jaxtyping import Float, Int, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy, interpolate, pad

from aign.data.cache import made_once
from aign.data.image_streams import as_floats, numbers_of
from aign.data.images import ImageSet
from aign.errors import UserError
from aign.seeding import generator_alone

Images = Float[Tensor, "batch channels height width"]
"""In [0, 1]."""
C = TypeVar("C", bound="Classifier")
Pixels = UInt8[Tensor, "images channels height width"]

NUM_FEATURES = 128
HELD_OUT = 0.2
"""The share of people, or of images without an identity, that are kept to measure the accuracy."""
MOST_HELD_OUT = 2000
MOST_PX = 64
"""Larger images are looked at in this size."""
STEPS, BATCH, RATE = 250, 64, 4e-3
"""So many steps on images of ``MOST_PX``; more on smaller ones, which take less time, in the ratio of their areas."""
_VERSION = 1  # of how it is learnt: another one finds nothing of this one's
_FILE = "classifier.safetensors"
_SMALLEST_PX, _WIDTH, _MOST_WIDTH = 4, 16, 128
_AT_ONCE = 256
"""Images that go through the network together where no gradient is needed."""


class Trunk(nn.Module):
    """Images (batch, channels, height, width) in [0, 1], of any size, to features (batch, ``NUM_FEATURES``).

    Images of another size than ``size``, (channels, height, width), are resized to it first.
    """

    def __init__(self, size: tuple[int, int, int]) -> None:
        super().__init__()
        self.size = size
        channels, *sides = size
        layers: list[nn.Module] = []
        width = _WIDTH
        while max(sides) > _SMALLEST_PX:
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels, width, sides = width, min(2 * width, _MOST_WIDTH), [(side + 1) // 2 for side in sides]
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * sides[0] * sides[1], NUM_FEATURES),
            nn.BatchNorm1d(NUM_FEATURES),
            nn.ReLU(),
        )

    def forward(self, images: Images) -> Float[Tensor, "batch features"]:
        if images.shape[2:] != self.size[1:]:
            # corners are not aligned: the pixels of both sizes cover the same square
            images = interpolate(images, self.size[1:], mode="bilinear", align_corners=False, antialias=True)
        return self.hidden(self.convolutions(2 * images - 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier:
    """Tells which of several classes an image belongs to."""

    subject: str
    """What it tells apart."""
    trunk: Trunk
    head: nn.Linear
    accuracy: float
    """Share of right answers about held-out images, the mean over classes: chance is 1 / classes."""
    num_samples: int
    """Held-out images that the accuracy was measured on."""

    @classmethod
    def fit_classes(
        cls: type[C],
        images: Images | Pixels,
        labels: Int[Tensor, " images"],
        num_classes: int,
        seed: int,
        *,
        subject: str = "classes",
        identity: Int[Tensor, " images"] | None = None,
        mirror: bool = False,
        device: torch.device | str = "cpu",
    ) -> C:
        """Learn labels from 0 to ``num_classes - 1``; equal seeds give equal classifiers on a CPU.

        Images of one ``identity`` (by default each is its own) are all learnt from or all held out. ``mirror`` says
        that an image's mirror image has its label. Every class is learnt from equally often, whatever its share.
        Equal classifiers are learnt only once, and then kept (see ``aign.data.cache``). Raises UserError if a class is
        missing in what is learnt from or held out, and CacheError if nothing can be kept.
        """
        identity = torch.arange(len(labels)) if identity is None else identity
        how = json.dumps([_VERSION, STEPS, BATCH, RATE, num_classes, seed, subject, mirror])

        def learn_into(folder: Path) -> None:
            learnt = cls._learnt(images, labels, num_classes, seed, subject, identity, mirror, device)
            learnt.save(folder / _FILE)

        folder = made_once(f"classifier_{_digest(how, images, labels, identity)}", learn_into)
        return cls.load(folder / _FILE, device)

    @classmethod
    def _learnt(
        cls: type[C],
        images: Images | Pixels,
        labels: Int[Tensor, " images"],
        num_classes: int,
        seed: int,
        subject: str,
        identity: Int[Tensor, " images"],
        mirror: bool,
        device: torch.device | str,
    ) -> C:
        rng = torch.Generator().manual_seed(seed)
        learnt, held_out = _parted(identity, rng)
        for rows in (learnt, held_out):
            _check_classes(labels[rows], num_classes, subject)
        channels, height, width = images.shape[1:]
        with generator_alone():
            torch.manual_seed(seed)
            trunk = Trunk((channels, min(height, MOST_PX), min(width, MOST_PX)))
            head = nn.Linear(NUM_FEATURES, num_classes)
        network = nn.Sequential(trunk, head).to(device)
        _train(network, images, labels, learnt, mirror=mirror, rng=rng)
        network.eval().requires_grad_(False)
        right = _scores(network, images[held_out]).argmax(1).cpu() == labels[held_out]
        accuracy = torch.stack([right[labels[held_out] == i].double().mean() for i in range(num_classes)]).mean()
        return cls(subject=subject, trunk=trunk, head=head, accuracy=accuracy.item(), num_samples=len(held_out))

    def probabilities(self, images: Images) -> Float[Tensor, "batch classes"]:
        """How probable each class is, for any number of images; without gradients, on the images' device."""
        return _scores(nn.Sequential(self.trunk, self.head), images).softmax(1).to(images.device)

    def classes(self, images: Images) -> Int[Tensor, " batch"]:
        """The most probable class of each image."""
        return self.probabilities(images).argmax(1)

    def save(self, path: Path | str) -> None:
        """Write one safetensors file, which ``load`` reads."""
        facts = {
            "subject": self.subject,
            "size": "x".join(map(str, self.trunk.size)),
            "accuracy": repr(self.accuracy),
            "num_samples": str(self.num_samples),
        }
        tensors = nn.ModuleDict({"trunk": self.trunk, "head": self.head}).state_dict()
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, path, metadata=facts)

    @classmethod
    def load(cls: type[C], path: Path | str, device: torch.device | str = "cpu") -> C:
        """A saved classifier. Raises UserError for a missing or broken file and for one that holds something else."""
        try:
            tensors, facts = _read(Path(path))
            channels, height, width = map(int, facts["size"].split("x"))
            with generator_alone():  # first weights are replaced: nothing random happens here
                trunk, head = Trunk((channels, height, width)), nn.Linear(NUM_FEATURES, len(tensors["head.bias"]))
            network = nn.ModuleDict({"trunk": trunk, "head": head})
            network.load_state_dict(tensors)
            network.to(device).eval().requires_grad_(False)
            return cls(
                subject=facts["subject"],
                trunk=trunk,
                head=head,
                accuracy=float(facts["accuracy"]),
                num_samples=int(facts["num_samples"]),
            )
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise UserError(path, f"not a saved {cls.__name__} ({error})", "fit one and save it there") from None


@dataclass(frozen=True, kw_only=True, eq=False)
class AttributeClassifier(Classifier):
    """Tells images that show an attribute, the ``subject``, from those that do not."""

    def __post_init__(self) -> None:
        if self.head.out_features != 2:
            raise ValueError(f"{self.subject} has {self.head.out_features} classes, an attribute is there or not")

    @classmethod
    def fit(
        cls, images: ImageSet, attribute: str, seed: int, *, device: torch.device | str = "cpu"
    ) -> "AttributeClassifier":
        """Learn a column of 1 and -1, or 1 and 0, from all images but those of some people, which give the accuracy.

        To be an independent judge it takes people that the judged networks were not trained on. Both values are learnt
        from equally often, so a share is not drawn to the share in these images. Raises UserError for a column that is
        not there, holds other numbers or only one, and for too few people.
        """
        return cls.fit_classes(
            images.pixels,
            _has(images, attribute),
            2,
            seed,
            subject=attribute,
            identity=_people(images),
            mirror=True,
            device=device,
        )

    @classmethod
    def check(cls, images: ImageSet, attribute: str, seed: int) -> None:
        """Raise UserError as ``fit`` would; nothing is learnt."""
        labels, identity = _has(images, attribute), _people(images)
        identity = torch.arange(len(labels)) if identity is None else identity
        for rows in _parted(identity, torch.Generator().manual_seed(seed)):
            _check_classes(labels[rows], 2, attribute)

    def probability(self, images: Images) -> Float[Tensor, " batch"]:
        """How probable it is that each image shows the attribute, if as many images do as do not."""
        return self.probabilities(images)[:, 1]

    def share(self, images: Images) -> Float[Tensor, ""]:
        """The share of images that are seen to show the attribute."""
        return (self.probability(images) > 0.5).float().mean()


# --- learning ------------------------------------------------------------------------------------------------------


def _has(images: ImageSet, attribute: str) -> Int[Tensor, " images"]:
    """1 for images that show the attribute, 0 for those that do not. Raises UserError for a column of other values."""
    values = numbers_of(images, [attribute], "cpu")[attribute]
    if not any(torch.isin(values, torch.tensor([absent, 1.0])).all() for absent in (-1.0, 0.0)):
        reason = f"of {images.name} is neither 1 or -1 nor 1 or 0 in all images"
        raise UserError(f"attribute {attribute}", reason, "choose one that is")
    return (values > 0).long()


def _people(images: ImageSet) -> Int[Tensor, " images"] | None:
    if "identity" not in images.table:
        return None
    return torch.from_numpy(pd.factorize(images.table["identity"], use_na_sentinel=False)[0].astype("int64"))


def _parted(identity: Int[Tensor, " images"], rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows to learn from and rows that are held out."""
    people, number = identity.unique(return_inverse=True)
    order = torch.randperm(len(people), generator=rng)
    is_held_out = torch.zeros(len(people), dtype=torch.bool)
    is_held_out[order[: max(1, round(HELD_OUT * len(people)))]] = True
    held_out = is_held_out[number].nonzero()[:, 0]
    few = torch.randperm(len(held_out), generator=rng)[:MOST_HELD_OUT].sort()[0]
    return (~is_held_out[number]).nonzero()[:, 0], held_out[few]


def _check_classes(labels: Int[Tensor, " images"], num_classes: int, subject: str) -> None:
    missing = sorted(set(range(num_classes)) - set(labels.tolist()))
    if missing:
        reason = f"of {num_classes} classes, {missing} are in none of {len(labels):,} images (a part of all)"
        raise UserError(subject, reason, "take more images, of all classes and of more people")


def _train(
    network: nn.Module, images: Images | Pixels, labels: Tensor, learnt: Tensor, *, mirror: bool, rng: torch.Generator
) -> None:
    device = next(network.parameters()).device
    steps = max(STEPS, STEPS * MOST_PX**2 // images[0, 0].numel())
    weight = 1 / labels[learnt].bincount().double()[labels[learnt]]
    rows = learnt[torch.multinomial(weight, steps * BATCH, replacement=True, generator=rng)].view(steps, BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    network.train()
    for batch in rows:
        seen = _changed(_floats(images[batch]), mirror=mirror, rng=rng)
        loss = cross_entropy(network(seen.to(device)), labels[batch].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _changed(images: Images, *, mirror: bool, rng: torch.Generator) -> Images:
    """A batch shifted, blurred and about half of it mirrored: what is inferred is seldom as sharp as a photograph."""
    reach = images.shape[-1] // 16
    left, top = torch.randint(2 * reach + 1, (2,), generator=rng).tolist()
    images = pad(images, [reach] * 4, mode="replicate")[..., top : top + images.shape[2], left : left + images.shape[3]]
    blurred = avg_pool2d(pad(images, [1] * 4, mode="replicate"), 3, stride=1)
    images = torch.lerp(images, blurred, torch.rand(len(images), 1, 1, 1, generator=rng))
    turned = mirror & (torch.rand(len(images), 1, 1, 1, generator=rng) < 0.5)
    return torch.where(turned, images.flip(-1), images)


def _scores(network: nn.Module, images: Images | Pixels) -> Float[Tensor, "batch classes"]:
    device = next(network.parameters()).device
    with torch.no_grad():
        return torch.cat([network(_floats(part).to(device)) for part in images.split(_AT_ONCE)])


def _digest(how: str, *tensors: Tensor) -> str:
    found = hashlib.sha256(how.encode())
    for tensor in tensors:
        found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.cpu().contiguous().numpy().data)
    return found.hexdigest()[:32]


def _floats(images: Images | Pixels) -> Images:
    return images if images.is_floating_point() else as_floats(images)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
