"""The VAE task on a few tiny drawn faces: its bound, its likelihoods, its streams, and images in and out."""

import json
import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from aign.data.streams import WorkerSlice, concatenate, draw
from aign.errors import UserError
from aign.losses.density import normal_nll
from aign.tasks.vae import VAE_TASK, VAEConfig, kl_to_standard_normal
from aign.training.loop import evaluate
from aign.training.run_config import RunConfig
from tests.aign.one_batch import train_on_one_batch

SMALL = {"size": 16, "num_images": 40, "width": 4, "latent_size": 6, "batch_size": 8}
REPRESENTATIONS = ["pixels", "yuv+dct", "yuv+wavelet:4"]
DISTRIBUTIONS = ["normal", "cauchy", "student-t", "general"]


@pytest.fixture
def vae_run():
    def vae_run(**changes):
        return RunConfig.of("vae", **SMALL | changes)

    return vae_run


@pytest.fixture
def task(vae_run):
    return vae_run().make_task()


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_overfits_one_tiny_batch(distribution, vae_run):
    run = vae_run(distribution=distribution, width=8, latent_size=16, batch_size=4, likelihood_lr_factor=5.0)
    task, batch, terms = train_on_one_batch(run, 120)
    observed = batch.unlabelled["observed"]
    with torch.no_grad():
        inferred = task.model.generator(observed)
    error = (inferred["image"] - observed["image"]).square().mean()
    assert error < 0.1 * (observed["image"] - observed["image"].mean(0)).square().mean()
    bounds = [float(t["reconstruction"] + t["kl"]) for t in (terms[0], terms[-1])]
    assert bounds[1] < bounds[0] - 300
    learnt = {"student-t": {"degrees", "scale"}, "general": {"alpha", "scale"}}.get(distribution, {"scale"})
    assert set(terms[-1]) == {"reconstruction", "kl", *learnt}
    for name in learnt:
        values = task.model.generator.likelihood.latest[name]
        assert values.std() > 0.03 * values.mean()  # each coefficient has learnt its own


# --- the bound -------------------------------------------------------------------------------------------------------


def test_the_bound_of_normal_pixels_by_hand(vae_run):
    task = vae_run(distribution="normal", representation="pixels", scale=0.2).make_task()
    observed = task.data.test["observed"]
    with torch.no_grad():
        inferred = task.model.generator(observed)
    mean, log_variance = inferred["latent_mean"].double(), inferred["latent_log_variance"].double()
    kl = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(1)
    residual = (inferred["image"] - observed["image"]).double().flatten(1)
    log_p = (-(residual**2) / (2 * 0.2**2) - math.log(0.2 * math.sqrt(2 * math.pi))).sum(1)
    measured = task.evaluator.measure(inferred, task.data.test)
    torch.testing.assert_close(measured["elbo"].double(), log_p - kl, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(measured["negative_elbo"], -measured["elbo"])
    rendered = task.model.renderer(inferred, observed)
    terms = task.objective.reconstruction(rendered, observed, 0.0) | task.objective.priors(inferred)
    total = terms["reconstruction"] + terms["kl"]
    torch.testing.assert_close(total.double(), (kl - log_p).mean(), rtol=1e-5, atol=1e-3)


def test_kl_is_that_of_distributions():
    mean, log_variance = torch.tensor([[0.3, -2.0]]), torch.tensor([[0.5, -1.0]])
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, (0.5 * log_variance).exp()), normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), expected)
    assert kl_to_standard_normal(torch.zeros(1, 4), torch.zeros(1, 4)) == 0


def test_bounds_compare_across_representations(vae_run):
    """Of equal normals, an orthonormal transform changes nothing: cosines have exactly the bound of pixels."""

    def bound(representation):
        task = vae_run(distribution="normal", representation=representation).make_task()
        with torch.no_grad():
            return task.evaluator.measure(task.model.generator(task.data.test["observed"]), task.data.test)["elbo"]

    torch.testing.assert_close(bound("dct"), bound("pixels"), rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_every_representation_preserves_volume(representation):
    transform = VAEConfig(size=16, representation=representation).transform()
    basis = transform(torch.eye(3 * 16 * 16, dtype=torch.float64).view(-1, 3, 16, 16)).flatten(1)
    assert torch.linalg.slogdet(basis)[1].abs() < 1e-6


def test_the_baseline_is_the_mean_image_with_normal_residuals(vae_run):
    task = vae_run(representation="pixels").make_task()
    evaluation, _ = evaluate(task, task.model.generator)
    observed = task.data.validation["observed"]["image"]
    mean_image, deviations = task.evaluator.baseline
    expected = -normal_nll(observed - mean_image, deviations).sum((1, 2, 3)).mean()
    baseline = evaluation.baselines["mean image"]
    assert baseline["elbo"] == pytest.approx(float(expected), rel=1e-5)
    assert baseline["negative_elbo"] == -baseline["elbo"]
    assert 8 < baseline["psnr_db"] < 20
    assert set(baseline) == {"negative_elbo", "elbo", "psnr_db", "ssim"}
    assert set(evaluation.metrics) == {*baseline, "kl"}
    assert VAE_TASK.selection_metric in evaluation.metrics
    assert (evaluation.data, evaluation.split) == ("generated faces", "validation")
    assert evaluation.num_samples == len(observed) > 1


# --- what is observed ------------------------------------------------------------------------------------------------


def test_a_batch_is_decided_by_seed_and_step_and_not_by_workers(task, shares):
    def batch(seed, step, share):
        return draw("images", task.data.streams["images"], 8, seed=seed, step=step, worker=share)

    whole = batch(0, 3, WorkerSlice())["observed"]
    parts = concatenate([batch(0, 3, share) for share in shares])["observed"]
    assert all(torch.equal(whole[name], parts[name]) for name in ("image", "noise"))
    for other in (batch(0, 4, WorkerSlice()), batch(1, 3, WorkerSlice())):
        assert not any(torch.equal(whole[name], other["observed"][name]) for name in whole)


def test_grain_bounds_the_density_and_stays_in_range(task):
    grain = task.config.dequantization_noise
    stream = task.data.streams["images"]
    first, second = (draw("images", stream, 64, seed=0, step=step)["observed"]["image"] for step in (0, 1))
    assert 0 <= min(first.min(), second.min()) <= max(first.max(), second.max()) <= 1
    clean = stream.pixels.float() / 255 * (1 - grain)
    nearest = (first[:, None] - clean - grain / 2).abs().amax((2, 3, 4)).amin(1)
    assert 0.4 * grain < nearest.min() <= nearest.max() <= 0.501 * grain
    assert task.evaluator.baseline[1].min() > 0.1 * grain


def test_every_run_is_measured_on_the_same_images_and_noise(vae_run):
    first, other = (vae_run(seed=seed).make_task() for seed in (0, 1))
    assert all(
        torch.equal(first.data.test["observed"][name], values) for name, values in other.data.test["observed"].items()
    )
    assert not torch.equal(*(task.model.generator.encoder[0].weight for task in (first, other)))


def test_what_is_imagined_has_nothing_to_do_with_its_row(task):
    observed = task.data.test["observed"]
    assert not (observed["prior_noise"] == observed["noise"]).any()
    torch.testing.assert_close(observed["prior_noise"].sum(0), observed["noise"].sum(0))


@pytest.mark.skipif(not os.environ.get("AIGN_DATA"), reason="AIGN_DATA names no folder of real data")
@pytest.mark.parametrize("representation", ["auto", "pixels", "dct"])
def test_digits(representation, vae_run):
    run = vae_run(data="mnist", size=VAEConfig.size, num_images=VAEConfig.num_images, representation=representation)
    task, batch, terms = train_on_one_batch(run, 2)
    assert batch.unlabelled["observed"]["image"].shape == (8, 1, 28, 28)
    assert all(term.isfinite() for term in terms[-1].values())
    assert task.metadata["data"] == "MNIST"
    assert len(task.data.test["observed"]["image"]) == 1000


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "spelling"),
    [
        ({}, "yuv+wavelet:5"),
        ({"size": 12}, "yuv+wavelet:4"),
        ({"data": "mnist"}, "wavelet:5"),
        ({"representation": "yuv+dct"}, "yuv+dct"),
    ],
)
def test_representations_fit_the_images(options, spelling):
    assert str(VAEConfig(**options).transform()) == spelling


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "mnist", "size": 64}, "size = 64: no effect with data 'mnist'; leave it out"),
        ({"data": "mnist", "num_images": 64}, "num_images = 64: no effect"),
        ({"source": "here"}, "source = here: no effect with data 'generated'"),
        ({"data": "folder"}, "which one is not said; add --source"),
        ({"data": "mnist", "representation": "yuv+dct"}, "yuv needs 3 channels, not 1; leave yuv out"),
        ({"representation": "wavelet:6"}, "has 5 levels"),
        ({"representation": "fourier"}, "'fourier' is none of"),
        ({"size": 8}, "size = 8: too small"),
        ({"dequantization_noise": 0.0}, "dequantization_noise = 0.0: too small"),
        ({"scale": 0.0}, "scale = 0.0: too small"),
        ({"latent_size": 0}, "latent_size = 0: too small"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        VAEConfig(**options)


def test_check_data_reads_the_data_that_the_options_name(vae_run, monkeypatch):
    options = vae_run().options
    VAE_TASK.data.check(options)
    monkeypatch.delenv("AIGN_DATA", raising=False)
    with pytest.raises(UserError, match="AIGN_DATA: is not set"):
        VAE_TASK.data.check(VAEConfig(data="mnist"))
    with pytest.raises(UserError, match="split 'validation'"):
        VAE_TASK.data.check(replace(options, num_images=2))


# --- restored, drawn, a user's own images ----------------------------------------------------------------------------


@pytest.mark.parametrize("distribution", ["student-t", "general"])
def test_restored_from_its_metadata_it_infers_the_same(distribution, vae_run):
    run = vae_run(distribution=distribution)
    task, _, _ = train_on_one_batch(run, 2)
    restored = VAE_TASK.restore(run.options, json.loads(json.dumps(task.metadata)))
    restored.model.generator.load_state_dict(task.model.generator.state_dict())
    observed = task.data.test["observed"]
    with torch.no_grad():
        torch.testing.assert_close(restored.model.generator(observed), task.model.generator(observed), atol=0, rtol=0)
    assert restored.metadata == task.metadata
    assert str(restored.model.transform) == str(task.model.transform)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_picture_shows_shapes_where_they_are_learnt(distribution, vae_run):
    task = vae_run(distribution=distribution).make_task()
    _, inferred = evaluate(task, task.model.generator)
    figure = task.evaluator.picture(inferred, task.data.validation)
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    shapes = {"student-t": ["degrees of freedom"], "general": ["alpha"]}.get(distribution, [])
    assert titles == ["observed", "rendered", "imagined", *shapes]
    assert "generated faces" in figure.texts[0].get_text()


@pytest.fixture
def folder(tmp_path):
    """Three images of the size that networks here are trained on."""
    images = np.random.default_rng(0).integers(256, size=(3, 16, 16, 3), dtype=np.uint8)
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    return tmp_path


def test_a_users_images_go_in_and_come_out(task, folder, tmp_path_factory):
    own = task.files.read(folder)
    sample = own.sample
    assert set(sample) == {"observed"}
    assert sample["observed"]["image"].shape == (3, 3, 16, 16)
    assert not sample["observed"]["noise"].any()
    with torch.no_grad():
        inferred = task.model.generator(sample["observed"])
    out = tmp_path_factory.mktemp("out")
    written = task.files.write(inferred, own, out)
    assert [path.name for path in written] == ["0.png", "1.png", "2.png", "grid.png"]
    figure = task.evaluator.picture(inferred, sample)
    assert [axes.get_title(loc="left") for axes in figure.axes][:4:3] == ["observed", "rendered"]
    assert len(figure.axes) == 6


def test_a_perfect_reconstruction_is_written_as_it_was_read(task, folder, tmp_path_factory):
    own = task.files.read(folder)
    out = tmp_path_factory.mktemp("out")
    first, *_ = task.files.write({"image": own.sample["observed"]["image"]}, own, out)
    assert first.name == "0.png"
    np.testing.assert_array_equal(np.asarray(Image.open(first)), np.asarray(Image.open(folder / "0.png")))


def test_images_of_another_size_are_skipped(task, folder):
    Image.new("RGB", (20, 16)).save(folder / "1.png")
    own = task.files.read(folder)
    assert own.names == ("0", "2")
    assert own.skipped[0].name == "1.png"
    assert "20 x 16 pixels" in own.skipped[0].reason
