"""Super-resolution: what is observed, and what is refused."""

import pytest
import torch

from aign.errors import UserError
from aign.renderers.image import Downsampler
from aign.training.loop import infer_all
from aign.training.run_config import RunConfig

SMALL = {"num_images": 60, "size": 48, "width": 8, "discriminator_width": 4}


@pytest.fixture(scope="module")
def task():
    return RunConfig.of("superres", **SMALL).make_task()


def test_a_quarter_of_each_side_is_observed_and_all_of_it_inferred(task):
    assert task.data.test["observed"]["image"].shape == (6, 3, 12, 12)
    assert torch.equal(task.data.test["observed"]["image"], Downsampler(4)(task.data.test["truth"], {})["image"])
    assert infer_all(task.model.generator, task.data.test["observed"])["image"].shape == (6, 3, 48, 48)


def test_before_it_learns_it_gives_about_the_enlarged_image(task):
    inferred = infer_all(task.model.generator, task.data.test["observed"])["image"]
    assert (inferred - task.evaluator.guess(task.data.test["observed"])["image"]).abs().mean() < 0.03


def test_images_too_small_to_be_measured_are_refused():
    with pytest.raises(UserError, match=r"size = 40: what is observed would be 10 pixels wide.*use 44 or more"):
        RunConfig.of("superres", size=40)
