"""The variational autoencoder: sizes, and that all its randomness is in what is observed."""

import pytest
import torch

from aign.generators.vae import LOG_VARIANCE, VAE
from aign.losses.likelihoods import make_likelihood

LATENTS = 5


@pytest.fixture
def make_vae():
    def make_vae(size=(3, 16, 16)):
        torch.manual_seed(0)
        return VAE(size, latent_size=LATENTS, width=4, likelihood=make_likelihood("normal", size, scale=1.0))

    return make_vae


@pytest.fixture
def observe(rng):
    def observe(size=(3, 16, 16), count=2):
        return {"image": torch.rand(count, *size, generator=rng), "noise": torch.randn(count, LATENTS, generator=rng)}

    return observe


@pytest.mark.parametrize("size", [(1, 28, 28), (3, 64, 64), (3, 33, 12), (1, 4, 4), (2, 5, 3)])
def test_images_of_any_size_come_back_in_it(size, make_vae, observe):
    inferred = make_vae(size)(observe(size))
    assert {name: tuple(values.shape) for name, values in inferred.items()} == {
        "latent_mean": (2, LATENTS),
        "latent_log_variance": (2, LATENTS),
        "image": (2, *size),
    }


def test_latents_are_drawn_with_the_noise_that_is_observed(make_vae, observe):
    vae, observed = make_vae(), observe()
    inferred, again = vae(observed), vae(observed)
    assert all(torch.equal(inferred[name], again[name]) for name in inferred)
    deviation = (0.5 * inferred["latent_log_variance"]).exp()
    latent = inferred["latent_mean"] + deviation * observed["noise"]
    torch.testing.assert_close(inferred["image"], vae.decode(latent))
    most_likely = vae(observed | {"noise": torch.zeros(2, LATENTS)})
    torch.testing.assert_close(most_likely["image"], vae.decode(inferred["latent_mean"]))


def test_it_imagines_what_noise_alone_decodes_to(make_vae, observe):
    vae, observed = make_vae(), observe()
    noise = observed["noise"].flip(0)
    torch.testing.assert_close(vae(observed | {"prior_noise": noise})["imagined"], vae.decode(noise))


def test_log_variances_stay_bounded(make_vae, observe):
    vae, observed = make_vae(), observe()
    with torch.no_grad():
        vae.encoder[-1].weight.mul_(1e6)
    assert vae(observed)["latent_log_variance"].abs().max() <= LOG_VARIANCE
    assert vae(observed)["image"].isfinite().all()


def test_a_sample_does_not_depend_on_its_batch(make_vae, observe):
    vae, observed = make_vae(), observe(count=3)
    alone = vae({name: values[1:2] for name, values in observed.items()})
    together = vae(observed)
    for name, values in alone.items():
        torch.testing.assert_close(values, together[name][1:2])
