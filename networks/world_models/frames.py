"""Observations as few codes for a world model: an encoder with residual blocks for images, layers for vectors."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import gymnasium as gym
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.networks.autoencoders.decoders import VectorDecoder
from gymnast.networks.autoencoders.grid import Residual
from gymnast.networks.autoencoders.outputs import Output
from gymnast.networks.autoencoders.quantise import Quantiser
from gymnast.networks.autoencoders.target import Target
from gymnast.networks.autoencoders.tokenizer import Tokenizer, grid_tokenizer
from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.inputs import Obs
from gymnast.networks.layers.restored import within
from gymnast.networks.own import observations

DECAY = 0.99
"""Of the running means that are the codes."""
APART = 0.03
"""Share of the variance of an encoder's vectors by which new codes must differ from all others, squared."""
LAYERS = 2
"""Fully connected layers of the encoder and the decoder of vectors."""


class FrameEncoder(nn.Module):
    """Images to feature maps by residual blocks, halved while no side falls below `smallest`."""

    def __init__(
        self, space: gym.Space[Any], *, channels: int, blocks: int, smallest: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.target = Target(space, lambda: observations(space, torch.device("cpu")))
        if len(self.target.shape) != 3:
            raise ValueError(f"a grid of codes needs images with bounds, got {space}")
        planes, height, width = self.target.shape
        layers: list[nn.Module] = [nn.Conv2d(planes, channels, 3, padding=1)]
        while True:
            layers += [Residual(channels, generator=generator) for _ in range(blocks)]
            height, width = height // 2, width // 2
            if min(height, width) < smallest:
                break
            layers.append(nn.Conv2d(channels, channels, 4, stride=2, padding=1))
        self.layers = nn.Sequential(*layers)
        initialise(self, "he", activation="relu", generator=generator)

    def mapped(self, obs: Obs) -> Tensor:
        """The last feature map [B, C, h, w] of observations."""
        maps: Tensor = self.layers(2.0 * self.target(obs) - 1.0).relu()
        return maps

    def forward(self, obs: Obs) -> Tensor:
        return self.mapped(obs).flatten(1)


class VectorEncoder(nn.Module):
    """Observations as `target` counts their numbers, through fully connected layers of `units`."""

    def __init__(self, target: Target, units: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.target = target
        sizes = [target.size, *[units] * LAYERS]
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.layers = nn.Sequential(*layers)
        initialise(self, "he", activation="relu", generator=generator)

    def forward(self, obs: Obs) -> Tensor:
        features: Tensor = self.layers(self.target(obs))
        return features


def is_picture(space: gym.Space[Any]) -> bool:
    """Whether `tokenizer` places codes in a grid over observations."""
    return len(Target(space, lambda: observations(space, torch.device("cpu"))).shape) == 3


def tokenizer(
    space: gym.Space[Any],
    *,
    code_grid: int,
    places: int,
    codes: int,
    code_size: int,
    channels: int,
    blocks: int,
    units: int,
    generator: torch.Generator,
) -> Tokenizer:
    """A tokenizer of images with `code_grid` x `code_grid` codes, or of other observations with `places` codes.

    Call `start` with some observations before it learns.

    Raises:
        ValueError: images with fewer rows or columns than the grid.
    """
    target = Target(space, lambda: observations(space, torch.device("cpu")))
    if target.layout is not None:
        _, height, width = target.shape
        if code_grid > min(height, width):
            raise ValueError(f"code_grid must be at most the sides of the images, {height}x{width}, got {code_grid}")
        encoder = FrameEncoder(space, channels=channels, blocks=blocks, smallest=code_grid, generator=generator)
        made = grid_tokenizer(
            encoder,
            space,
            code_grid=code_grid,
            codes=codes,
            code_size=code_size,
            decoder_channels=channels,
            code_decay=DECAY,
            generator=generator,
        )
        made.quantiser.apart = APART
        return made
    vectors = VectorEncoder(target, units, generator=generator)
    latent = nn.Sequential(nn.Linear(units, places * code_size))
    initialise(latent, "lecun", activation=None, generator=generator)
    decoder = VectorDecoder(
        places * code_size, target.size, [units] * LAYERS, activation="relu", init="he", generator=generator
    )
    quantiser = Quantiser(codes, code_size, decay=DECAY, apart=APART)
    return Tokenizer(vectors, latent, quantiser, decoder, target, Output("mse", spread=1.0))


@torch.no_grad()
def start(made: Tokenizer, obs: Obs) -> None:
    """Let a tokenizer of `tokenizer` count numbers, and its decoder start, as observations [B, ...] tell."""
    made.target.count_by(obs)
    made.start_at(obs)


@torch.no_grad()
def decoded(made: Tokenizer, codes: Tensor) -> Obs:
    """Observations [B, ...] of codes int64 [B, K], as the environment would return them: its dtype and range."""
    target = made.target
    return _valid(target.space, target.observed(made.restored(codes)), codes.device)


def _valid(space: gym.Space[Any], obs: Obs, device: torch.device) -> Obs:
    """The observations of a space that are nearest."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        return {str(key): _valid(part, obs[str(key)], device) for key, part in parts}
    return within(space, obs).to(device, observations(space, device).dtype)
