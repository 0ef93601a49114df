"""Networks that nobody had in mind when compression was written, from a dict to a dict."""

import torch
from torch import nn
from torch.nn.functional import relu


class FromDict(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, observed):
        return {"out": self.layers(observed["image"])}


def plain():
    """Convolutions, poolings, transposed convolutions, nothing named."""
    return FromDict(
        nn.Sequential(
            nn.Conv2d(3, 12, 5, padding=2),
            nn.BatchNorm2d(12),
            nn.ELU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 10, 3, padding=1, bias=False),
            nn.Hardswish(),
            nn.ConvTranspose2d(10, 8, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 2, 1),
        )
    )


def flattened():
    return FromDict(
        nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(24, 16),
            nn.GELU(),
            nn.Linear(16, 5),
        )
    )


class UNet(nn.Module):
    """Two levels; what goes down is concatenated on the way up."""

    def __init__(self):
        super().__init__()
        self.first, self.down = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(12, 12, 3, padding=1)
        self.up = nn.ConvTranspose2d(12, 10, 2, stride=2)
        self.last = nn.Conv2d(10 + 8 + 3, 2, 3, padding=1)

    def forward(self, observed):
        image = observed["image"]
        first = relu(self.first(image))
        up = relu(self.up(relu(self.middle(relu(self.down(first))))))
        return {"out": self.last(torch.cat([up, first, image], 1))}


class Bottleneck(nn.Module):
    """A residual block with two layers between that may be projected."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.a, self.b, self.c = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 8, 1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, observed):
        stream = relu(self.stem(observed["image"]))
        stream = relu(stream + self.c(relu(self.b(relu(self.a(stream))))))
        return {"out": self.head(stream)}


def images(count=3, seed=0):
    return {"image": torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))}


def settled(network, seed=0):
    """With batch norms that do something, in evaluation mode."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return network.eval()
