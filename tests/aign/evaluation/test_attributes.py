"""A judge of images: right about people it has not seen, the same from the same seed, saved whole, and its errors."""

import os
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import avg_pool2d

from aign.data.digits import generated_digits, load_digits
from aign.data.faces import generated_faces
from aign.data.image_streams import as_floats
from aign.errors import UserError
from aign.evaluation import attributes
from aign.evaluation.attributes import AttributeClassifier, Classifier

REAL = pytest.mark.skipif("AIGN_DATA" not in os.environ, reason="AIGN_DATA is not set: no real digits to read")


@pytest.fixture(scope="module")
def faces():
    return generated_faces(600, seed=1, size=32)


@pytest.fixture(scope="module")
def seen(faces):
    return faces.where("identity < 150")


@pytest.fixture(scope="module")
def unseen(faces):
    return faces.where("identity >= 150")


@pytest.fixture(scope="module")
def judge(seen):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attributes, "STEPS", 40)
        return AttributeClassifier.fit(seen, "Long_Hair", seed=0)


@pytest.fixture
def hasty(monkeypatch):
    """Learning that takes no time and leads nowhere."""
    monkeypatch.setattr(attributes, "STEPS", 1)


def images_with(images, expression):
    return as_floats(images.where(expression).pixels)


def test_is_right_about_unseen_people_and_says_how_often(judge, unseen):
    yes, no = (judge.share(images_with(unseen, f"Long_Hair == {value}")).item() for value in (1, -1))
    assert yes > 0.85
    assert no < 0.15
    assert judge.accuracy == pytest.approx((yes + 1 - no) / 2, abs=0.1)
    assert judge.num_samples == 0.2 * 450  # images of a fifth of 150 people


def test_a_share_counts_images(judge, unseen):
    images = as_floats(unseen.pixels)
    probability = judge.probability(images)
    assert probability.shape == (len(unseen),)
    assert judge.share(images) == (probability > 0.5).float().mean()
    assert not probability.requires_grad


def test_blurred_images_of_another_size_are_judged_too(judge, unseen):
    blurred = avg_pool2d(as_floats(unseen.pixels), 2)
    has = torch.tensor((unseen.table["Long_Hair"] == 1).to_numpy())
    assert ((judge.probability(blurred) > 0.5) == has).float().mean() > 0.75


def test_an_image_is_judged_by_itself(judge, unseen):
    images = as_floats(unseen.pixels)
    torch.testing.assert_close(judge.probability(images)[:3], judge.probability(images[:3]))


def test_equal_seeds_give_equal_judges_and_leave_other_randomness_alone(seen, unseen, hasty, tmp_path, monkeypatch):
    state = torch.get_rng_state()
    first = AttributeClassifier.fit(seen, "Old", 5)
    monkeypatch.setenv("AIGN_CACHE", str(tmp_path))
    second, other = (AttributeClassifier.fit(seen, "Old", seed) for seed in (5, 6))
    assert len(list(tmp_path.glob("*/classifier.safetensors"))) == 2
    assert torch.equal(torch.get_rng_state(), state)
    images = as_floats(unseen.pixels)
    assert torch.equal(first.probability(images), second.probability(images))
    assert not torch.equal(first.probability(images), other.probability(images))
    assert first.accuracy == second.accuracy


def test_the_same_is_learnt_only_once(seen, hasty, tmp_path, monkeypatch):
    monkeypatch.setenv("AIGN_CACHE", str(tmp_path / "cache"))
    AttributeClassifier.fit(seen, "Old", 5)
    monkeypatch.setattr("aign.evaluation.attributes._train", lambda *_, **__: pytest.fail("learnt again"))
    AttributeClassifier.fit(seen, "Old", 5)
    (tmp_path / "file").touch()
    monkeypatch.setenv("AIGN_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"cannot hold what is made once .*; set AIGN_CACHE to a folder"):
        AttributeClassifier.fit(seen, "Old", 5)


def test_what_one_machine_has_learnt_another_fetches(seen, unseen, hasty, machine, tmp_path, monkeypatch):
    monkeypatch.setenv("AIGN_CACHE", f"file://{tmp_path}/store")
    machine("head")
    learnt = AttributeClassifier.fit(seen, "Old", 5)
    machine("worker")
    monkeypatch.setattr("aign.evaluation.attributes._train", lambda *_, **__: pytest.fail("learnt again"))
    fetched = AttributeClassifier.fit(seen, "Old", 5)
    images = as_floats(unseen.pixels)
    assert torch.equal(fetched.probability(images), learnt.probability(images))


def test_held_out_people_are_not_learnt_from():
    identity = torch.arange(100) % 20
    learnt, held_out = attributes._parted(identity, torch.Generator().manual_seed(0))
    assert not set(identity[learnt].tolist()) & set(identity[held_out].tolist())
    assert sorted(learnt.tolist() + held_out.tolist()) == list(range(100))
    assert len(held_out) == 20


def test_changed_images_stay_in_the_rows_of_their_labels(rng):
    batch = torch.rand(8, 1, 4, 4, generator=rng).round()  # too small to be shifted
    changed = attributes._changed(batch, mirror=True, rng=rng)
    apart = (changed[:, None] - torch.stack([batch, batch.flip(-1)], 1)).flatten(2).norm(dim=2).amin(1)
    others = (changed[:, None] - batch.roll(1, 0)[:, None]).flatten(1).norm(dim=1)
    assert (apart < others).all()


def test_ten_kinds_are_told_apart(monkeypatch):
    monkeypatch.setattr(attributes, "STEPS", 20)
    kinds = generated_digits(1500, seed=0)
    classifier = Classifier.fit_classes(kinds.images[:, None], kinds.labels, 10, seed=0)
    assert classifier.accuracy > 0.95
    new = generated_digits(200, seed=1)
    assert (classifier.classes(new.images[:, None]) == new.labels).float().mean() > 0.95
    torch.testing.assert_close(classifier.probabilities(new.images[:, None]).sum(1), torch.ones(200))


@REAL
def test_real_digits(monkeypatch):
    monkeypatch.setattr(attributes, "STEPS", 40)
    digits, new = load_digits("train", 6000, seed=0), load_digits("test", 2000, seed=0)
    classifier = Classifier.fit_classes(digits.images[:, None], digits.labels, 10, seed=0)
    assert (classifier.classes(new.images[:, None]) == new.labels).float().mean() > 0.96
    assert classifier.accuracy > 0.96


def test_a_rare_attribute_is_learnt_as_often_as_its_absence(seen, unseen, monkeypatch):
    monkeypatch.setattr(attributes, "STEPS", 40)
    rare = seen.where("Long_Hair == -1 or identity in (3, 17, 40, 55, 71, 88, 92, 101, 120, 133, 140, 148)")
    judge = AttributeClassifier.fit(rare, "Long_Hair", seed=1)
    assert judge.share(images_with(unseen, "Long_Hair == 1")) > 0.3


def test_a_saved_judge_is_the_same(judge, unseen, tmp_path):
    judge.save(tmp_path / "judge.safetensors")
    loaded = AttributeClassifier.load(tmp_path / "judge.safetensors")
    images = as_floats(unseen.pixels)
    assert torch.equal(loaded.probability(images), judge.probability(images))
    assert (loaded.subject, loaded.accuracy, loaded.num_samples) == ("Long_Hair", judge.accuracy, judge.num_samples)


def test_a_file_that_holds_no_judge_is_an_error(tmp_path, hasty):
    with pytest.raises(UserError, match="not a saved AttributeClassifier"):
        AttributeClassifier.load(tmp_path / "none.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"PK\3\4 and so on")
    with pytest.raises(UserError, match="not a saved AttributeClassifier"):
        AttributeClassifier.load(tmp_path / "broken.safetensors")
    kinds = generated_digits(600, seed=0)
    Classifier.fit_classes(kinds.images[:, None], kinds.labels, 10, seed=0).save(tmp_path / "kinds.safetensors")
    assert Classifier.load(tmp_path / "kinds.safetensors").head.out_features == 10
    with pytest.raises(UserError, match="has 10 classes, an attribute is there or not"):
        AttributeClassifier.load(tmp_path / "kinds.safetensors")


def test_attributes_that_cannot_be_learnt_are_errors(seen):
    with pytest.raises(UserError, match=r"column Bald: .* has none of this name; choose one of Old, Beard"):
        AttributeClassifier.fit(seen, "Bald", seed=0)
    with pytest.raises(UserError, match=r"attribute age: of .* is neither 1 or -1"):
        AttributeClassifier.fit(seen, "age", seed=0)
    with pytest.raises(UserError, match=r"Old: of 2 classes, \[0\] are in none of"):
        AttributeClassifier.fit(seen.where("Old == 1"), "Old", seed=0)
    with pytest.raises(UserError, match="Old: of 2 classes"):
        AttributeClassifier.fit(seen.where("identity == 3"), "Old", seed=0)


def test_images_without_identities_are_each_their_own(seen, hasty):
    nameless = replace(seen, table=seen.table.drop(columns="identity"))
    assert AttributeClassifier.fit(nameless, "Smiling", seed=0).num_samples == 90
