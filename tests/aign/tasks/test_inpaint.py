"""Inpainting: masks, what is superimposed, who sees what, digits."""

import pandas as pd
import pytest
import torch

from aign.data.digits import generated_digits
from aign.data.images import ImageSet
from aign.errors import UserError
from aign.training.loop import draw_batch, infer_all
from aign.training.players import make_engines
from aign.training.run_config import RunConfig
from aign.training.step import adversarial_step

SMALL = {"num_images": 60, "size": 44, "width": 8, "discriminator_width": 4, "num_blocks": 1, "batch_size": 4}


@pytest.fixture
def digits(monkeypatch):
    """Scribbles in MNIST's place."""
    drawn = generated_digits(300, 0)
    table = pd.DataFrame(
        {"label": drawn.labels.numpy(), "split": ["train"] * 100 + ["test"] * 50 + ["validation"] * 150}
    )
    images = ImageSet(name="scribbles", pixels=drawn.images.mul(255).byte()[:, None], table=table)
    monkeypatch.setattr("aign.data.image_splits._digits", lambda: images)
    monkeypatch.setattr("aign.data.image_splits._unread_digits", lambda: images.split("validation"))


@pytest.mark.parametrize("hidden", ["mouth", "nose", "eyes", "box:4:8:20:24"])
def test_what_is_visible_is_observed_and_superimposed(hidden):
    task = RunConfig.of("inpaint", **SMALL, hidden=hidden).make_task()
    observed, truth = task.data.test["observed"], task.data.test["truth"]["image"]
    visible = observed["mask"].expand_as(truth) == 1
    assert 0.02 < (~visible).float().mean() < 0.3
    assert torch.equal(observed["image"], torch.where(visible, truth, 0))
    inferred = infer_all(task.model.generator, observed)
    assert torch.equal(inferred["image"], torch.where(visible, truth, inferred["whole"]))
    assert not torch.equal(inferred["whole"], inferred["image"])
    assert torch.equal(task.model.renderer(inferred, observed)["image"], observed["mask"] * inferred["whole"])


@pytest.mark.parametrize("judged", ["image", "whole"])
def test_the_discriminator_sees_what_was_chosen(judged):
    task = RunConfig.of("inpaint", **SMALL, judged=judged).make_task()
    factors = {"image": torch.zeros(1), "whole": torch.ones(1)}
    assert task.discriminators["image"].sees(factors) is factors[judged]
    assert task.discriminators["image"].sees({"image": factors["image"]}) is factors["image"]


def test_only_what_is_visible_counts_unless_a_decoder_is_to_hide_the_rest():
    task = RunConfig.of("inpaint", **SMALL).make_task()
    observed = task.data.test["observed"]
    other = observed["image"] + (1 - observed["mask"])
    assert task.objective.reconstruction({"image": other}, observed, 0.0)["reconstruction"] == 0
    learnt = RunConfig.of("inpaint", "parametric", **SMALL).make_task()
    assert learnt.objective.reconstruction({"image": other}, observed, 0.0)["reconstruction"] > 0.01
    inferred = {"image": other, "whole": other}
    measured = task.evaluator.measure(inferred, task.data.test)
    assert (measured["hole_psnr_db"] < measured["psnr_db"]).all()
    assert (measured["consistency_psnr_db"] == 100).all()


@pytest.mark.parametrize("preset", ["digits", "digits-parametric"])
def test_digits_take_a_step_and_are_judged(preset, digits, monkeypatch):
    monkeypatch.setattr("aign.evaluation.attributes.STEPS", 20)
    run = RunConfig.of("inpaint", preset, width=16, batch_size=4)
    task = run.make_task()
    engines = make_engines(task, run.training)
    (stage,) = task.objective.stages
    terms, _ = adversarial_step(task, engines, stage, draw_batch(task, stage, run.training, 0), run.training, 0)
    assert set(stage.weights) <= set(terms)
    inferred = infer_all(task.model.generator, task.data.test["observed"])
    assert inferred["image"].shape[1:] == (1, 28, 28)
    metrics = task.evaluator.evaluate(inferred, task.data.test).metrics
    assert ("recovered_psnr_db" in metrics) == (preset == "digits-parametric")
    truth = task.data.test["truth"]["image"]
    assert (task.evaluator.measure(inferred | {"image": truth}, task.data.test)["same_digit_percent"] == 100).all()
    task.evaluator.picture(inferred, task.data.test)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden": "ear"}, "is no part of an image"),
        ({"hidden": "box:0:0:70:9"}, "is no box in images of 64 x 64"),
        ({"data": "mnist"}, "MNIST has no landmarks; give a box"),
        ({"data": "mnist", "hidden": "box:0:0:30:9"}, "is no box in images of 28 x 28"),
        ({"network": "fully-connected", "num_blocks": 9}, "num_blocks = 9: no effect with a fully connected"),
        ({"network": "fully-connected", "upsampling": "deconvolution"}, "no effect with a fully connected"),
    ],
)
def test_options_that_cannot_be_are_refused(changes, reason):
    with pytest.raises(UserError, match=reason):
        RunConfig.of("inpaint", **changes)
