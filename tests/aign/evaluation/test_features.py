"""Features: the same everywhere and whatever the batch; what they see and what they leave open."""

import pytest
import torch
from torch.nn.functional import avg_pool2d

from aign.data.faces import generated_faces
from aign.data.image_streams import as_floats
from aign.errors import UserError
from aign.evaluation.attributes import Classifier, Trunk
from aign.evaluation.distribution import content_preservation, fid, kid
from aign.evaluation.features import BATCH, NUM_FEATURES, RandomFeatures, features_of, trained_features


@pytest.fixture(scope="module")
def faces():
    return generated_faces(400, seed=2, size=32)


@pytest.fixture(scope="module")
def images(faces):
    return as_floats(faces.pixels)


def test_features_are_always_the_same(images):
    torch.manual_seed(1)
    first = features_of(images[:5], RandomFeatures())
    torch.manual_seed(2)
    assert torch.equal(first, features_of(images[:5], RandomFeatures()))
    assert first.shape == (5, NUM_FEATURES)
    assert first.dtype == torch.float64
    assert not first.requires_grad


def test_features_of_an_image_do_not_depend_on_its_batch(images):
    extractor = RandomFeatures()
    many = features_of(images[: BATCH + 3], extractor)
    assert len(many) == BATCH + 3
    torch.testing.assert_close(many[BATCH:], features_of(images[BATCH : BATCH + 3], extractor), rtol=1e-4, atol=1e-4)


def test_weights_are_kept_as_they_are_and_not_learnt():
    assert not list(RandomFeatures().parameters())
    assert RandomFeatures().filters_1.sum((2, 3)).abs().max() < 1e-5


def test_size_and_depth_of_images_do_not_matter(faces):
    extractor = RandomFeatures()
    large = features_of(as_floats(generated_faces(40, seed=2, size=64).pixels), extractor)
    small = features_of(as_floats(faces.pixels[:40]), extractor)
    assert content_preservation(small, large) > 0.9
    grey = as_floats(faces.pixels[:3]).mean(1, keepdim=True)
    assert torch.equal(features_of(grey, extractor), features_of(grey.expand(-1, 3, -1, -1), extractor))


def test_distances_see_an_attribute_blur_and_noise_beyond_what_chance_does(faces, images, rng):
    extractor = RandomFeatures()
    features = features_of(images, extractor)
    old = torch.tensor((faces.table["Old"] == 1).to_numpy())
    one, other = features[:200], features[200:]
    chance, spread = fid(one, other), kid(one, other, 0)
    blurred = features_of(avg_pool2d(images[:200], 3, 1, 1, count_include_pad=False), extractor)
    noisy = features_of((images[:200] + 0.1 * torch.randn(200, 3, 32, 32, generator=rng)).clamp(0, 1), extractor)
    for changed in (blurred, noisy):
        assert fid(changed, other) > 1.5 * chance
        assert kid(changed, other, 0).mean > spread.mean + spread.deviation
    assert fid(features[old], features[~old]) > 1.2 * chance


def test_a_face_is_told_from_others_though_it_is_blurred(images):
    extractor = RandomFeatures()
    blurred = avg_pool2d(images[:200], 3, 1, 1, count_include_pad=False)
    features, truth = (features_of(some, extractor) for some in (blurred, images[:200]))
    assert content_preservation(features, truth) > 0.5
    assert content_preservation(features.flip(0), truth) < 0.05


def test_trained_features_are_those_of_the_saved_classifier(tmp_path, images):
    trunk = Trunk((3, 32, 32))
    classifier = Classifier(subject="any", trunk=trunk, head=torch.nn.Linear(128, 2), accuracy=0.5, num_samples=1)
    classifier.save(tmp_path / "judge.safetensors")
    assert torch.equal(
        features_of(images[:4], trained_features(tmp_path / "judge.safetensors")), features_of(images[:4], trunk)
    )
    with pytest.raises(UserError, match="not a saved Classifier"):
        trained_features(tmp_path / "none.safetensors")
