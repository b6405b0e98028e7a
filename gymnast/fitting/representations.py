"""What linear probes read: the features of an encoder, those of a random one like it, and raw observations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from gymnast.agents.base import torch_seed
from gymnast.envs.step import Obs, map_obs
from gymnast.errors import UsageError
from gymnast.fitting.probe_data import in_batches
from gymnast.networks.build import build
from gymnast.networks.layers.normalise import RunningNorm
from gymnast.networks.modes import acting
from gymnast.storage.encoder import Encoder, described, read_encoder, same_kind

FEATURES = 1024
"""Features of a representation, at most; more are projected to as many random directions."""
COPIES = 8
"""Directions that a projected feature is added to."""


@dataclass(frozen=True)
class Architecture:
    """How to build the backbone that is probed, without its weights."""

    network: str
    """Its name, as `networks.build` takes it."""
    options: dict[str, Any] = field(default_factory=dict)
    hidden_sizes: tuple[int, ...] | None = None
    activation: str = "relu"
    layer_norm: bool = False

    def random(self, space: gym.Space[Any], seed: np.random.SeedSequence) -> nn.Module:
        """The backbone with random weights; ValueError if it does not read such observations."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(seed))  # for layers of your own
            return build(
                self.network,
                space,
                options=self.options,
                hidden_sizes=self.hidden_sizes,
                activation=self.activation,
                layer_norm=self.layer_norm,
                generator=torch.Generator().manual_seed(torch_seed(seed)),
            )


def encoder_of(path: str, space: gym.Space[Any], *, env: str) -> Encoder:
    """The encoder of a run or checkpoint; UsageError if it has none or reads other observations than the given ones."""
    encoder = read_encoder(path)
    if not same_kind(encoder.observation_space, space):
        raise UsageError(
            f"the encoder {path} reads {described(encoder.observation_space)} ({encoder.trained_on}), "
            f"but observations of {env} are {described(space)}"
        )
    return encoder


def architecture_of(encoder: Encoder) -> Architecture:
    """The architecture of a trained encoder."""
    return Architecture(encoder.name, encoder.options, encoder.hidden_sizes, encoder.activation, encoder.layer_norm)


def normalised(backbone: nn.Module, encoder: Encoder | None) -> nn.Module:
    """The backbone on observations normalised as the encoder's are."""
    if encoder is None or encoder.norm is None:
        return backbone
    norm = RunningNorm(encoder.observation_space)
    norm.load_state_dict(encoder.norm)
    return nn.Sequential(norm, backbone)


@dataclass(frozen=True)
class Features:
    """The features of N observations."""

    values: Tensor
    """float32 [N, D]"""
    of: int
    """The number of features before any was left out or projected."""
    projected: bool = False

    @property
    def told(self) -> str:
        """Their number."""
        count = self.values.shape[1]
        if count == self.of:
            return f"{count:,}"
        how = "random directions" if self.projected else "that change"
        return f"{count:,} {how} of {self.of:,}"


@torch.no_grad()
def features(
    network: nn.Module,
    obs: Obs,
    count: int,
    *,
    device: torch.device,
    seed: np.random.SeedSequence,
    most: int = FEATURES,
) -> Features:
    """The outputs of a network for N observations, without gradients and in evaluation mode.

    Of more than `most` features those that never change are left out. If there are still more, they are projected to
    `most` random directions, which keeps inner products up to noise: each feature is added, with random signs, to a few
    of them (the sparse transform of Kane & Nelson 2014), which takes little time and memory for whole screens too.
    """
    network = acting(network.to(device))
    first = next(_outputs(network, obs, count, device))
    if first.shape[1] <= most:
        return Features(torch.cat([part.cpu() for part in _outputs(network, obs, count, device)]), first.shape[1])
    changes = torch.zeros(first.shape[1], dtype=torch.bool, device=device)
    for part in _outputs(network, obs, count, device):
        changes |= (part != first[0]).any(0)
    kept = changes.nonzero().flatten()
    if len(kept) <= most:
        parts = [part[:, kept].cpu() for part in _outputs(network, obs, count, device)]
        return Features(torch.cat(parts), first.shape[1])
    generator = torch.Generator().manual_seed(torch_seed(seed))
    bucket = torch.randint(most, (COPIES, len(kept)), generator=generator).to(device)
    sign = (2 * torch.randint(2, bucket.shape, generator=generator) - 1).to(device) / math.sqrt(COPIES)
    parts = [_sums((part - first[0])[:, kept], bucket, sign, most) for part in _outputs(network, obs, count, device)]
    return Features(torch.cat(parts), first.shape[1], projected=True)


def _sums(part: Tensor, bucket: Tensor, sign: Tensor, most: int) -> Tensor:
    """Signed sums [B, most] of the features [B, D] in each bucket, on the CPU."""
    found = part.new_zeros(len(part), most)
    for place, signs in zip(bucket, sign, strict=True):
        found.index_add_(1, place, part * signs)
    return found.cpu()


def _outputs(network: nn.Module, obs: Obs, count: int, device: torch.device) -> Iterator[Tensor]:
    for part in in_batches(obs, count):
        output: Tensor = network(map_obs(lambda value: value.to(device), part))
        yield output.float()
