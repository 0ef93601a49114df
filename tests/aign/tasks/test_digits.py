"""The classifier of digits on a few scribbles: its loss, its metrics, its streams, and a user's images."""

import json
import os

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from aign.data.digits import generated_digits
from aign.data.streams import WorkerSlice, concatenate, draw
from aign.errors import UserError
from aign.tasks.digits import BASELINE, DIGITS, DigitsConfig
from aign.training.loop import evaluate, infer_all
from aign.training.run_config import RunConfig
from tests.aign.one_batch import train_on_one_batch

SMALL = {"num_images": 60, "num_validation": 50, "num_test": 100, "width": 4, "num_blocks": 1, "batch_size": 16}


@pytest.fixture
def digits_run():
    def digits_run(**changes):
        return RunConfig.of("digits", **SMALL | changes)

    return digits_run


@pytest.fixture
def task(digits_run):
    return digits_run().make_task()


def test_overfits_one_tiny_batch(digits_run):
    task, batch, terms = train_on_one_batch(digits_run(width=8, generator_lr=1e-2), 60)
    assert set(terms[0]) == {"supervision/class"}
    assert terms[-1]["supervision/class"] < 0.05 < 1.5 < terms[0]["supervision/class"]
    with torch.no_grad():
        guess = task.model.generator(batch.labelled["observed"])["logits"].argmax(1)
    assert torch.equal(guess, batch.labelled["truth"]["label"].long())


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_metrics_of_right_and_wrong_guesses_by_hand(task):
    label = task.data.test["truth"]["label"].long()
    wrong = torch.arange(len(label)) < 25
    logits = torch.zeros(len(label), 10)
    logits[torch.arange(len(label)), torch.where(wrong, (label + 1) % 10, label)] = 3.0
    evaluation = task.evaluator.evaluate({"logits": logits}, task.data.test)
    assert evaluation.metrics["error_percent"] == 25
    assert evaluation.metrics["accuracy_percent"] == 75
    total = np.log(np.exp(3) + 9)
    assert evaluation.metrics["cross_entropy"] == pytest.approx(total - 0.75 * 3)
    assert evaluation.num_samples == 100


def test_the_baseline_is_the_class_of_most_training_images(digits_run):
    task = digits_run(num_images=63).make_task()  # one more each of 0, 1 and 2
    assert task.data.source.most_frequent == 0
    evaluation, _ = evaluate(task, task.model.generator)
    assert evaluation.baselines == {BASELINE: {"error_percent": 90.0, "accuracy_percent": 10.0}}
    assert task.selection_metric in evaluation.metrics


# --- streams ---------------------------------------------------------------------------------------------------------


def test_a_batch_is_decided_by_seed_and_step_and_not_by_workers(task, shares):
    def batch(seed, step, share):
        return draw("digits", task.data.streams["digits"], 8, seed=seed, step=step, worker=share)

    whole, parts = batch(0, 3, WorkerSlice()), concatenate([batch(0, 3, share) for share in shares])
    assert torch.equal(whole["observed"]["image"], parts["observed"]["image"])
    assert torch.equal(whole["truth"]["label"], parts["truth"]["label"])
    assert not torch.equal(whole["observed"]["image"], batch(0, 4, WorkerSlice())["observed"]["image"])


@pytest.mark.parametrize("shift_px", [0, 2])
def test_training_images_are_moved_and_test_images_are_not(shift_px, digits_run):
    task = digits_run(shift_px=shift_px).make_task()
    sample = draw("digits", task.data.streams["digits"], 64, seed=0, step=0)
    is_moved = (sample["observed"]["image"] != sample["truth"]["image"]).flatten(1).any(1)
    assert (0.8 < is_moved.float().mean() < 1) if shift_px else not is_moved.any()
    for samples in (task.data.validation, task.data.test):
        assert torch.equal(samples["observed"]["image"], samples["truth"]["image"])


def test_labels_belong_to_their_images(task):
    digits, test = generated_digits(60, 0), generated_digits(100, 1)
    torch.testing.assert_close(task.data.test["truth"]["image"][:, 0], test.images, atol=0.5 / 255 + 1e-6, rtol=0)
    assert torch.equal(task.data.test["truth"]["label"].long(), test.labels)
    sample = draw("digits", task.data.streams["digits"], 32, seed=0, step=0)["truth"]
    nearest = torch.cdist(sample["image"].flatten(1), digits.images.flatten(1)).argmin(1)
    assert torch.equal(digits.labels[nearest], sample["label"].long())


def test_every_run_is_measured_on_the_same_digits(digits_run):
    first, other = (digits_run(seed=seed).make_task() for seed in (0, 1))
    assert torch.equal(first.data.test["observed"]["image"], other.data.test["observed"]["image"])
    assert not torch.equal(*(task.model.generator.head.weight for task in (first, other)))


@pytest.mark.skipif(not os.environ.get("AIGN_DATA"), reason="AIGN_DATA names no folder of real data")
def test_real_digits(digits_run):
    task, batch, terms = train_on_one_batch(digits_run(data="mnist", num_validation=2000, num_test=2000), 2)
    assert batch.labelled["observed"]["image"].shape == (16, 1, 28, 28)
    assert terms[-1]["supervision/class"].isfinite()
    assert task.metadata["data"] == "MNIST"
    evaluation, _ = evaluate(task, task.model.generator)
    assert evaluation.num_samples == 2000
    assert 85 < evaluation.baselines[BASELINE]["error_percent"] < 92
    with pytest.raises(UserError, match="60,001 digits: the train split has 60000; ask for fewer"):
        DIGITS.data.check(DigitsConfig(data="mnist", num_images=59_001, num_validation=1000))


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"num_images": 0}, "num_images = 0"),
        ({"width": 0}, "width = 0"),
        ({"num_blocks": 0}, "num_blocks = 0"),
        ({"shift_px": -1}, "shift_px = -1"),
        ({"shift_px": 28}, "shift_px = 28"),
    ],
)
def test_options_that_cannot_be_are_refused(options, value):
    with pytest.raises(UserError, match=f"{value}: "):
        DigitsConfig(**options)


def test_check_data_reads_the_data_that_the_options_name(digits_run, monkeypatch):
    said = DIGITS.data.check(digits_run().options)
    assert said == ["generated scribbles: 60 for training, 50 validation, 100 test"]
    monkeypatch.delenv("AIGN_DATA", raising=False)
    with pytest.raises(UserError, match="AIGN_DATA: is not set"):
        DIGITS.data.check(DigitsConfig(data="mnist"))


# --- restored, drawn, a user's own images ----------------------------------------------------------------------------


def test_restored_from_its_metadata_it_infers_the_same(digits_run):
    run = digits_run()
    task, _, _ = train_on_one_batch(run, 2)
    restored = DIGITS.restore(run.options, json.loads(json.dumps(task.metadata)))
    restored.model.generator.load_state_dict(task.model.generator.state_dict())
    observed = task.data.test["observed"]
    for name, values in infer_all(task.model.generator, observed).items():
        assert torch.equal(infer_all(restored.model.generator, observed)[name], values)
    assert restored.metadata == task.metadata


def test_the_picture_shows_samples_and_the_surest_mistakes(task):
    label = task.data.test["truth"]["label"].long()
    logits = 5.0 * torch.eye(10)[label]
    logits[3], logits[50] = 4.0 * torch.eye(10)[(label[3] + 1) % 10], 6.0 * torch.eye(10)[(label[50] + 1) % 10]
    figure = task.evaluator.picture({"logits": logits}, task.data.test)
    said = [text.get_text() for text in figure.texts]
    assert said[0] == "classified digits: generated scribbles"
    assert said[1].startswith("30 of 100 samples")
    assert said[2] == "2 of 2 mistakes, the surest first"
    mistakes = [f", is {label[i]}" for i in (50, 3)]
    assert all(axes.get_xlabel().endswith(end) for axes, end in zip(figure.axes[30:], mistakes, strict=True))


@pytest.fixture
def folder(tmp_path):
    """Images with a light square on dark ground, grey and in colour, of any size."""
    for i, (mode, size) in enumerate((("L", (28, 28)), ("RGB", (80, 60)), ("L", (16, 50)))):
        image = Image.new(mode, size)
        image.paste("white", (6, 6, 12, 12))
        image.save(tmp_path / f"{i}.png")
    return tmp_path


def test_a_users_images_go_in_and_predictions_come_out(task, folder, tmp_path_factory):
    task = DIGITS.restore(task.config, task.metadata)
    own = task.files.read(folder)
    sample = own.sample
    assert set(sample) == {"observed"}
    assert sample["observed"]["image"].shape == (3, 1, 28, 28)
    inferred = infer_all(task.model.generator, sample["observed"])
    (file,) = task.files.write(inferred, own, tmp_path_factory.mktemp("out"))
    assert file.name == "predictions.csv"
    table = pd.read_csv(file)
    assert table["file"].tolist() == ["0.png", "1.png", "2.png"]
    assert table["class"].tolist() == inferred["logits"].argmax(1).tolist()
    np.testing.assert_allclose(table["confidence"], inferred["logits"].softmax(1).amax(1), rtol=1e-5)
    figure = task.evaluator.picture(inferred, sample)
    assert len(figure.axes) == 3
    assert figure.texts[0].get_text() == "classified digits, learnt from generated scribbles"


def test_dark_ink_on_light_ground_is_skipped(task, folder):
    Image.new("L", (28, 28), 255).save(folder / "1.png")
    own = task.files.read(folder)
    assert own.names == ("0.png", "2.png")
    assert [name for name, _ in own.skipped] == ["1.png"]
    for name in own.names:
        (folder / name).unlink()
    with pytest.raises(UserError, match=r"1\.png is mostly light"):
        task.files.read(folder)
