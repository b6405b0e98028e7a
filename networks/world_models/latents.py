"""The latents of a world model: of a variational autoencoder, or an observation's own numbers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.networks.autoencoders.decoders import decoder
from gymnast.networks.autoencoders.outputs import Output
from gymnast.networks.autoencoders.target import Target
from gymnast.networks.autoencoders.variational import Normal, Progress, freed, narrow
from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.inputs import Obs, Vector
from gymnast.networks.layers.samples import sampled


class Latents(nn.Module, ABC):
    """Between observations [B, ...] and latents [B, size]."""

    size: int
    target: Target

    @torch.no_grad()
    def start_at(self, obs: Obs) -> None:
        """Take the units of numbers from the mean and the deviation of observations."""
        self.target.count_by(obs)

    @abstractmethod
    def encode(self, obs: Obs) -> Tensor:
        """The latents of observations; of a distribution its mean."""

    @abstractmethod
    def draw(self, obs: Obs, generator: torch.Generator) -> Tensor:
        """Latents drawn from their distribution."""

    def settle(self, latent: Tensor) -> Tensor:
        """The nearest latents that an observation can have."""
        return latent

    @abstractmethod
    def decode(self, latent: Tensor) -> Obs:
        """Observations in their own units, float32, neither rounded nor clipped."""


class Numbers(Latents):
    """Latents are the numbers of the observation, in deviations from their mean."""

    low: Tensor
    high: Tensor

    def __init__(self, space: gym.Space[Any], generator: torch.Generator) -> None:
        super().__init__()
        self.target = Target(space, lambda: sampled(space, 1, generator=generator), flat=True)
        self.size = self.target.size
        for name, bound in zip(("low", "high"), _bounds(space), strict=True):
            self.register_buffer(name, torch.from_numpy(bound), persistent=False)

    def encode(self, obs: Obs) -> Tensor:
        latent: Tensor = self.target(obs)
        return latent

    def draw(self, obs: Obs, generator: torch.Generator) -> Tensor:
        return self.encode(obs)

    def settle(self, latent: Tensor) -> Tensor:
        target = self.target
        if target.unit:
            return latent.clamp(self.low, self.high)
        return latent.clamp((self.low - target.mean) / target.std, (self.high - target.mean) / target.std)

    def decode(self, latent: Tensor) -> Obs:
        return self.target.observed(latent)


class VAE(Latents):
    """A backbone and a decoder as a variational autoencoder (Kingma & Welling 2014; Ha & Schmidhuber 2018).

    The decoder is a normal distribution of one learned deviation. The rate counts only in the second half of `length`
    updates and after them.
    """

    def __init__(
        self,
        space: gym.Space[Any],
        backbone: nn.Module,
        *,
        size: int,
        decoder_sizes: Sequence[int],
        decoder_channels: int,
        activation: str,
        init: str,
        length: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.size = size
        self.backbone = backbone
        self.target = Target(space, lambda: sampled(space, 1, generator=generator))
        self.posterior = narrow(_linear(int(backbone.out_features), 2 * size, init, generator))  # type: ignore[arg-type]
        self.decoder = decoder(
            size,
            self.target.shape,
            hidden_sizes=decoder_sizes,
            channels=decoder_channels,
            activation=activation,
            init=init,
            generator=generator,
        )
        self.output = Output("gaussian", spread=1.0)
        self.progress = Progress(length)

    @torch.no_grad()
    def start_at(self, obs: Obs) -> None:
        """Also start the decoder at the mean of the observations, and its deviation at theirs."""
        super().start_at(obs)
        mean, spread = self.target.moments(obs)
        self.decoder.start_at(mean)
        self.output.log_std.fill_(math.log(spread))

    def distribution(self, obs: Obs) -> Normal:
        """Of the latents of observations."""
        return Normal.of(self.posterior(self.backbone(obs)))

    def encode(self, obs: Obs) -> Tensor:
        return self.distribution(obs).mean

    def draw(self, obs: Obs, generator: torch.Generator) -> Tensor:
        return self.distribution(obs).sample(generator)

    def decode(self, latent: Tensor) -> Obs:
        return self.target.observed(self.output.mean(self.decoder(latent)))

    def loss(
        self, obs: Obs, generator: torch.Generator, *, beta: float, free_bits: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The negative bound on log p(obs) of one number, in nats; and its parts, of all numbers of an observation."""
        target = self.target(obs)
        posterior = self.distribution(obs)
        distortion = self.output.error(self.decoder(posterior.sample(generator)), target).mean()
        rate = posterior.rate()
        loss = distortion + self.progress.step() * beta * freed(rate, free_bits)
        parts = {"vae_distortion": distortion.detach(), "vae_rate": rate.detach().sum(1).mean()}
        return loss / target[0].numel(), parts


def _bounds(space: gym.Space[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Of each number of an observation as `Vector` has it, float32 [K]."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
        low, high = zip(*(_bounds(part) for part in parts), strict=True)
        return np.concatenate(low), np.concatenate(high)
    if isinstance(space, spaces.Box) and space.dtype not in (np.uint8, np.bool_):
        low, high = (bound.flatten().astype(np.float32) for bound in (space.low, space.high))
        return low, high
    size = Vector(space).out_features
    return np.zeros(size, np.float32), np.ones(size, np.float32)


def _linear(inputs: int, outputs: int, init: str, generator: torch.Generator) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    initialise(layer, init, activation=None, generator=generator)
    return layer
