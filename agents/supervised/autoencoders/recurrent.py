"""The recurrent autoencoder, of windows of consecutive observations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents.supervised.autoencoders.config import AutoencoderConfig
from gymnast.agents.supervised.autoencoders.plain import Autoencoder, time_of
from gymnast.agents.supervised.autoencoders.tiles import tiles
from gymnast.agents.supervised.episodes import on
from gymnast.agents.supervised.observations import SAMPLE, Observations
from gymnast.agents.supervised.shown import Grid
from gymnast.networks.autoencoders.recurrent import SequenceDecoder, SequenceEncoder
from gymnast.networks.layers.inputs import Obs
from gymnast.replay.datasets.episodes import EpisodeData
from gymnast.replay.datasets.labelled import Labelled

FRAMES = 3
"""Steps of a window of images that a picture shows: the first, the last and those between."""


@dataclass(frozen=True)
class RecurrentConfig(AutoencoderConfig):
    """One latent of several consecutive observations (Srivastava et al. 2015)."""

    window: int = 8
    """Consecutive observations of an episode; of a labelled data set the sequences are whole."""
    stride: int = 4
    """Steps of an episode from the start of one window to the next."""
    cell: Literal["gru", "lstm"] = "gru"
    """Recurrent layer that reads the features of the steps, and the one that restores them."""
    units: int = 128
    """Units of each of the two."""
    latent_size: int = 64
    """Numbers of the latent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("window", 2), ("stride", 1), ("units", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be >= {least}, got {getattr(self, name)}")
        if self.cell not in ("gru", "lstm"):
            raise ValueError(f"cell must be gru or lstm, got {self.cell!r}")


class Recurrent(Autoencoder):
    """Encodes each step by the backbone, all steps of a window as one latent, and restores the window.

    An example is a window; it is known by the number of its first step.
    """

    name, Config = "autoencoder-recurrent", RecurrentConfig
    config: RecurrentConfig

    def prepare(self) -> None:
        if isinstance(self.data, Labelled):
            self._of_sequences(self.data)
            return
        self.steps = self.config.window
        super().prepare()
        time = time_of(self.data)
        left = self.data.starts.diff()[self.data.episode] - time
        self.keep(
            (time % self.config.stride == 0) & (left >= self.steps),
            f"window {self.steps} is longer than every episode",
        )

    def _of_sequences(self, data: Labelled) -> None:
        for name in ("window", "stride"):
            value = getattr(self.config, name)
            if value != getattr(RecurrentConfig, name):
                raise ValueError(f"{name} {value} has no effect on {data.name}, whose sequences are whole")
        space = data.space
        if not isinstance(space, spaces.Box) or len(space.shape) < 2:
            raise ValueError(f"recurrent needs episodes or sequences, a Box [T, ...], got {space}")
        self.steps, self.flat = space.shape[0], True
        self.observation_space = step_space(space)

    def inputs(self, index: Tensor) -> Obs:
        """The first step of each window."""
        first: Obs = super().inputs(index) if isinstance(self.data, EpisodeData) else self.data.inputs[index][:, 0]
        return first

    def sample(self, most: int = SAMPLE) -> Obs:
        return over_steps(self.windows(self.train[:: max(len(self.train) * self.steps // most, 1)]))

    def windows(self, index: Tensor) -> Obs:
        """Windows [B, T, ...], on the host."""
        if isinstance(self.data, Labelled):
            return self.data.inputs[index]
        every = (index.unsqueeze(1) + torch.arange(self.steps)).flatten()
        return windows_of(self.data.observations(every), self.steps)

    def batch(self, index: Tensor) -> Observations:
        return Observations(index, on(self.windows(index), self.device))

    def latents(self, features: int) -> dict[str, nn.Module]:
        config = self.config
        self.latent_size = config.latent_size
        init, generator = config.init, self.generator
        made = SequenceEncoder(
            features, config.units, self.latent_size, cell=config.cell, init=init, generator=generator
        )
        return {"latent": made}

    def decoder(self, backbone: nn.Module) -> SequenceDecoder:
        config = self.config
        return SequenceDecoder(
            self.latent_size,
            config.units,
            self.steps,
            self.decoder_of(config.units),
            cell=config.cell,
            init=config.init,
            generator=self.generator,
        )

    def encode(self, obs: Obs) -> Tensor:
        """Latents [B, latent_size] of windows [B, T, ...]."""
        features = self.network.backbone(over_steps(obs))
        latent: Tensor = self.network.heads["latent"](windows_of(features, self.steps))
        return latent

    def target(self, obs: Obs) -> Tensor:
        """What is restored of windows, [B, T, *shape]."""
        found: Tensor = windows_of(super().target(over_steps(obs)), self.steps)
        return found

    def grid(self, rows: dict[str, Tensor]) -> Grid:
        """Rows of windows [N, T, *shape] by label as pictures in which time runs downwards."""
        target: Any = self.network.heads["target"]
        pictures = []
        for values in rows.values():
            if target.images is not None:
                values = values[:, torch.linspace(0, self.steps - 1, min(self.steps, FRAMES)).long()]
            steps = tiles(target, values.flatten(0, 1))
            pictures.append(windows_of(steps, values.shape[1]).flatten(1, 2))
        return Grid(torch.stack(pictures), tuple(rows))


def over_steps(obs: Obs) -> Obs:
    """Windows [B, T, ...] as single observations [B T, ...]."""
    if isinstance(obs, dict):
        return {key: over_steps(part) for key, part in obs.items()}
    return obs.flatten(0, 1)


def windows_of(obs: Obs, steps: int) -> Obs:
    """Single observations [B T, ...] as windows [B, T, ...]."""
    if isinstance(obs, dict):
        return {key: windows_of(part, steps) for key, part in obs.items()}
    return obs.reshape(-1, steps, *obs.shape[1:])


def step_space(space: spaces.Box) -> gym.Space[Any]:
    """The space of one step of sequences."""
    return spaces.Box(space.low[0], space.high[0], dtype=space.dtype.type)
