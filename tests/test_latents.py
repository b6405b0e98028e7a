"""The latents of a world model: the autoencoder's loss and units, and numbers as they are."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.networks.autoencoders.variational import Normal, freed
from gymnast.networks.build import build
from gymnast.networks.world_models.latents import VAE, Numbers

VECTOR = spaces.Box(-np.inf, np.inf, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (40, 38, 3), np.uint8)


def autoencoder(space: Any = VECTOR, *, size: int = 2, length: int = 10) -> VAE:
    generator = torch.Generator().manual_seed(0)
    return VAE(
        space,
        build("auto", space, hidden_sizes=(16,), generator=generator),
        size=size,
        decoder_sizes=(16,),
        decoder_channels=4,
        activation="relu",
        init="he",
        length=length,
        generator=generator,
    )


def observations(count: int = 64) -> torch.Tensor:
    """Three numbers of different units that lie on a line."""
    place = torch.rand((count, 1), generator=torch.Generator().manual_seed(1))
    return torch.cat([100 + 10 * place, -place, 0.01 * place], 1)


def test_the_loss_is_the_bound_with_free_bits_and_a_rate_that_grows() -> None:
    model, obs = autoencoder(length=4), observations()
    model.start_at(obs)
    for expected in (0.0, 0.0, 0.0, 0.5, 1.0, 1.0):  # of beta, over the updates
        loss, parts = model.loss(obs, torch.Generator().manual_seed(2), beta=0.7, free_bits=0.1)
        posterior = model.distribution(obs)
        target = model.target(obs)
        latent = posterior.sample(torch.Generator().manual_seed(2))
        log_likelihood = Normal(model.decoder(latent), 2 * model.output.log_std.expand(len(obs), 3)).log_density(target)
        rate = freed(posterior.rate(), 0.1)
        torch.testing.assert_close(loss, (-log_likelihood.mean() + expected * 0.7 * rate) / 3)
        assert parts["vae_distortion"].item() == pytest.approx(-log_likelihood.mean().item(), rel=1e-5)
        assert parts["vae_rate"].item() == pytest.approx(posterior.rate().sum(1).mean().item(), rel=1e-5)


@pytest.mark.parametrize("images", [False, True])
def test_it_learns_to_restore(images: bool) -> None:
    torch.manual_seed(0)
    space = IMAGE if images else VECTOR
    obs = observations(16)
    if images:  # a bright square at one of two places
        obs = torch.zeros((16, 40, 38, 3), dtype=torch.uint8)
        obs[::2, 2:20, 2:20], obs[1::2, 20:38, 18:36] = 200, 250
    model, generator = autoencoder(space, length=40), torch.Generator().manual_seed(3)
    model.start_at(obs)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    before = (model.decode(model.encode(obs)) - obs).square().mean()
    for _ in range(60):
        loss, _ = model.loss(obs, generator, beta=1.0, free_bits=0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = (model.decode(model.encode(obs)) - obs).square().mean()
    assert model.decode(model.encode(obs)).shape == obs.shape
    assert after < 0.1 * before


def test_it_starts_at_the_mean_of_the_data() -> None:
    model, obs = autoencoder(), observations()
    model.start_at(obs)
    with torch.no_grad():
        for parameter in model.decoder.output.weight:
            parameter.zero_()
    torch.testing.assert_close(model.decode(torch.zeros(1, 2)), obs.mean(0, keepdim=True))
    assert model.output.log_std.item() == pytest.approx(0.0, abs=1e-5)  # in deviations of the data


def test_drawn_latents_are_those_of_the_posterior() -> None:
    model, obs = autoencoder(), observations()
    model.start_at(obs)
    posterior = model.distribution(obs)
    noise = torch.randn((64, 2), generator=torch.Generator().manual_seed(4))
    expected = posterior.mean + (0.5 * posterior.log_variance).exp() * noise
    torch.testing.assert_close(model.draw(obs, torch.Generator().manual_seed(4)), expected)
    assert torch.equal(model.encode(obs), posterior.mean)


def test_numbers_are_counted_in_deviations_and_come_back() -> None:
    latents, obs = Numbers(VECTOR, torch.Generator().manual_seed(0)), observations()
    latents.start_at(obs)
    encoded = latents.encode(obs)
    torch.testing.assert_close(encoded, (obs - obs.mean(0)) / obs.std(0, correction=0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(latents.decode(encoded), obs)
    assert torch.equal(latents.draw(obs, torch.Generator()), encoded)
