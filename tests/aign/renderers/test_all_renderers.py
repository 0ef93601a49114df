"""What holds for every renderer, also for those that are not written yet."""

import importlib
import pkgutil
from inspect import signature

import pytest
from torch import nn

import aign.renderers
from aign.renderers.identity import Identity
from aign.renderers.image import Downsampler, LearntRenderer, Masker
from aign.renderers.skeleton_basis import BasisRenderer


def renderers():
    """Every nn.Module class in aign/renderers/."""
    for info in pkgutil.iter_modules(aign.renderers.__path__):
        module = importlib.import_module(f"aign.renderers.{info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == module.__name__:
                yield value


EXAMPLES = {
    "BasisRenderer": lambda: BasisRenderer(4, 9, image_size=64),
    "Downsampler": lambda: Downsampler(4),
    "Masker": Masker,
    "LearntRenderer": LearntRenderer,
    "Identity": Identity,
}
"""One instance of each class: add a line for a new renderer."""


@pytest.mark.parametrize("kind", renderers(), ids=lambda kind: kind.__name__)
def test_renderers_have_no_parameters(kind):
    assert list(EXAMPLES[kind.__name__]().parameters()) == []


@pytest.mark.parametrize("kind", renderers(), ids=lambda kind: kind.__name__)
def test_renderers_are_called_with_what_was_inferred_and_observed(kind):
    assert list(signature(kind.forward).parameters) == ["self", "inferred", "observed"]
