"""A convolutional pair on made-up 64x64 images: what a step costs when networks are not small.

observed 4x smaller images; inferred, remembered images; rendered 4x average pooling.
"""

from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from aign.memories import Memory
from aign.tasks.base import Critic, Evaluation, Stage, Task

SIZE, SMALLER, NUM_IMAGES = 64, 4, 256
WEIGHTS = {"reconstruction": 1.0, "adversarial/images": 0.02}
ADVERSARIAL = Stage(name="adversarial", share=1.0, unlabelled=("unlabelled",), weights=WEIGHTS)


def made_up_images(count: int, seed: int) -> Tensor:
    """(count, 3, 64, 64) in [0, 1]: coloured blobs with a little noise."""
    random = torch.Generator().manual_seed(seed)
    blobs = interpolate(torch.rand(count, 3, 8, 8, generator=random), size=SIZE, mode="bilinear", align_corners=True)
    return (blobs + 0.05 * torch.randn(count, 3, SIZE, SIZE, generator=random)).clamp(0, 1)


class Block(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Generator(nn.Module):
    """About a million parameters; most of the work is done at 8x8, the rest on the way up."""

    def __init__(self) -> None:
        super().__init__()
        up = [nn.Conv2d(128, 128, 3, padding=1), nn.PixelShuffle(2), nn.ReLU()]
        for _ in range(2):
            up += [nn.Conv2d(32, 128, 3, padding=1), nn.PixelShuffle(2), nn.ReLU()]
        down = [nn.Conv2d(3, 128, 4, stride=2, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*down, *(Block(128) for _ in range(3)), *up, nn.Conv2d(32, 3, 3, padding=1))

    def forward(self, observed: dict[str, Tensor], done: float) -> dict[str, Tensor]:
        smooth = interpolate(observed["small"], size=SIZE, mode="bilinear", align_corners=False)
        return {"image": smooth + self.layers(observed["small"])}


class Renderer(nn.Module):
    def forward(self, inferred: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"small": avg_pool2d(inferred["image"], SMALLER)}


def discriminator() -> nn.Module:
    """Strided convolutions to one logit an image, about 0.7 million parameters."""
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 128), (128, 256)):
        layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256 * 4 * 4, 1), nn.Flatten(0))


class Observations:
    """A stream of small images."""

    def __init__(self, images: Tensor) -> None:
        self.small = avg_pool2d(images, SMALLER)

    def plan(self, size: int, rng: Any) -> dict[str, Tensor]:
        return {"index": torch.from_numpy(rng.integers(len(self.small), size=size))}

    def load(self, plan: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        return {"observed": {"small": self.small[plan["index"]]}}


class ImageTask(Task):
    """As much of a task as a step needs."""

    name: ClassVar[str] = "images"
    Config: ClassVar[type] = tuple
    presets: ClassVar = MappingProxyType({})
    objective: ClassVar[str] = "error"

    def __init__(self, config: Any = (), seed: int = 0, device: Any = "cpu") -> None:
        self.config = config
        torch.manual_seed(seed)
        self.generator, self.renderer = Generator(), Renderer()
        memory = Memory({"image": made_up_images(NUM_IMAGES, seed)}, bias="any images")
        self.critics = {"images": Critic(network=discriminator(), sees=lambda f: f["image"], memory=memory)}
        self.streams = {"unlabelled": Observations(made_up_images(NUM_IMAGES, seed + 1))}
        self.test = {"observed": {"small": self.streams["unlabelled"].small[:4]}}

    @classmethod
    def plan(cls, config: Any) -> list[Stage]:
        return [ADVERSARIAL]

    def reconstruction(
        self, rendered: dict[str, Tensor], observed: dict[str, Tensor], done: float
    ) -> dict[str, Tensor]:
        return {"reconstruction": (rendered["small"] - observed["small"]).square().mean()}

    @classmethod
    def check_data(cls, config: Any) -> None:
        pass

    def facts(self) -> dict[str, Any]:
        return {}

    @classmethod
    def restore(cls, config: Any, facts: dict[str, Any]) -> "ImageTask":
        return cls(config)

    def measure(self, inferred: dict[str, Tensor], test: Any) -> dict[str, Tensor]:
        raise NotImplementedError

    def summarize(self, measured: dict[str, Tensor]) -> Evaluation:
        raise NotImplementedError

    def picture(self, inferred: dict[str, Tensor], test: Any) -> Any:
        raise NotImplementedError

    def read(self, path: Any) -> Any:
        raise NotImplementedError

    def write(self, inferred: Any, sample: Any, folder: Any) -> Any:
        raise NotImplementedError
