"""Random changes of the images that an agent learns from (DrQ, Yarats et al. 2021; SPR, Schwarzer et al. 2021)."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from gymnast.agents.base import restore_generator, torch_seed
from gymnast.envs.step import Obs
from gymnast.networks.backbones.convolutional import ConvNet
from gymnast.networks.backbones.image import ImageBackbone
from gymnast.networks.layers.views import Views
from gymnast.replay.transitions import Batch

Kind = Literal["none", "shift", "shift-intensity"]
INTENSITY = 0.05
"""Deviation of the factor of an image's brightness (SPR)."""


class Augmentation:
    """Shifts images, and with `shift-intensity` scales their brightness; parts that are no images stay.

    Raises:
        ValueError: observations without an image.
    """

    def __init__(
        self,
        kind: Kind,
        observation_space: gym.Space[Any],
        backbone: nn.Module,
        *,
        device: torch.device,
        seed: np.random.SeedSequence,
    ) -> None:
        layout = backbone.layout if isinstance(backbone, ConvNet | ImageBackbone) else None
        intensity = INTENSITY if kind == "shift-intensity" else 0.0
        try:
            self.views = Views(observation_space, layout=layout, noise=0.0, intensity=intensity)
        except ValueError as error:
            raise ValueError(f"augment {kind} needs images, got {observation_space}") from error
        self.generator = torch.Generator(device).manual_seed(torch_seed(seed))

    def __call__(self, obs: Obs) -> Obs:
        """Other images for observations [B, ...], each with its own changes."""
        changed: Obs = self.views(obs, self.generator)
        return changed

    def batch(self, batch: Batch) -> Batch:
        """The batch with other images in both observations."""
        return dataclasses.replace(batch, obs=self(batch.obs), next_obs=self(batch.next_obs))

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        restore_generator(self.generator, state["generator"])


def build_augmentation(
    kind: Kind,
    observation_space: gym.Space[Any],
    backbone: nn.Module,
    *,
    device: torch.device,
    seed: np.random.SeedSequence,
) -> Augmentation | None:
    """The augmentation of this kind, if any; only then is a seed spawned."""
    if kind == "none":
        return None
    return Augmentation(kind, observation_space, backbone, device=device, seed=seed.spawn(1)[0])
