"""A residual network that classifies small images (He et al., CVPR 2016, section 4.2)."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu


class ResidualClassifier(nn.Module):
    """Three groups of ``num_blocks`` basic blocks with ``width``, twice and four times as many channels.

    observed   image (batch, channels, height, width) in [0, 1], of any size
    inferred   logits (batch, classes)

    The second and third group halve the sides.
    """

    def __init__(self, channels: int, num_classes: int, width: int, num_blocks: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        blocks: list[BasicBlock] = []
        before = width
        for group in range(3):
            for i in range(num_blocks):
                after = 2**group * width
                blocks.append(BasicBlock(before, after, stride=2 if group and not i else 1))
                before = after
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(before, num_classes)

    def forward(self, observed: dict[str, Tensor]) -> dict[str, Tensor]:
        features = self.blocks(self.stem(observed["image"]))
        return {"logits": self.head(features.mean((2, 3)))}


class BasicBlock(nn.Module):
    """Two convolutions beside a shortcut, which is a convolution of single pixels where the shape changes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if (before, stride) != (after, 1):
            self.shortcut.append(nn.Conv2d(before, after, 1, stride=stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(after))

    def forward(
        self, features: Float[Tensor, "batch before height width"]
    ) -> Float[Tensor, "batch after new_height new_width"]:
        inside = relu(self.norm1(self.conv1(features)))
        return relu(self.norm2(self.conv2(inside)) + self.shortcut(features))
