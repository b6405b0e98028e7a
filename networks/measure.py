"""What a backbone costs, and how much of an image one of its features sees."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gymnast.networks.layers.images import Layout
from gymnast.networks.layers.inputs import Obs
from gymnast.networks.own import observations

BATCH = 32
ROUNDS = 3
TRIES = 4
"""Random images from which a receptive field is found: a maximum hides the pixels that lost."""


@runtime_checkable
class ReadsImages(Protocol):
    """A backbone with convolutions over images."""

    layout: Layout
    training: bool

    def feature_map(self, features: Tensor) -> Tensor: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def eval(self) -> nn.Module: ...
    def train(self, mode: bool = True) -> nn.Module: ...


@dataclass(frozen=True)
class Measured:
    """The costs of one backbone in one observation space."""

    features: int
    parameters: int
    multiply_adds: int
    """Of one observation."""
    field: tuple[int, int] | None
    """Height and width, in pixels, that one position of the last feature map sees; None without images."""
    milliseconds: float
    """Of a forward and a backward pass of 32 observations, here."""


def measure(backbone: nn.Module, space: gym.Space[Any], *, device: torch.device | str = "cpu") -> Measured:
    """Measure a backbone; its weights stay as they are."""
    obs = observations(space, torch.device(device))
    return Measured(
        features=int(backbone.out_features),  # type: ignore[arg-type]
        parameters=sum(parameter.numel() for parameter in backbone.parameters()),
        multiply_adds=_multiply_adds(backbone, obs),
        field=receptive_field(backbone) if isinstance(backbone, ReadsImages) else None,
        milliseconds=_milliseconds(backbone, _rows(obs, BATCH)),
    )


def _multiply_adds(backbone: nn.Module, obs: Obs) -> int:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", message="TF32")  # from switching oneDNN off
        # oneDNN's recurrent layers are one operation, which the counter does not know.
        with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
            backbone(obs)
    return int(counter.get_total_flops()) // 2 // 2  # two observations, and two operations for a multiply-add


def _milliseconds(backbone: nn.Module, obs: Obs) -> float:
    """The fastest of a few rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        total = backbone(obs).sum()
        if total.requires_grad:  # without parameters there is nothing to learn
            total.backward()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begun)
    backbone.zero_grad(set_to_none=True)
    return 1000 * best


def _rows(obs: Obs, count: int) -> Obs:
    """`count` copies of the first observation."""
    if isinstance(obs, dict):
        return {key: _rows(part, count) for key, part in obs.items()}
    return obs[:1].expand(count, *obs.shape[1:]).contiguous()


def receptive_field(backbone: ReadsImages) -> tuple[int, int]:
    """Height and width of the pixels that the middle of the last feature map depends on, at most the whole image.

    It is found by the gradients of random images, so it is what the network really sees. Pooling over all positions at
    the end does not count.
    """
    channels, height, width = backbone.layout.planes
    device = next(backbone.parameters()).device
    generator = torch.Generator(device).manual_seed(0)
    training = backbone.training
    backbone.eval()
    seen = torch.zeros(height, width, dtype=torch.bool, device=device)
    for _ in range(TRIES):
        images = torch.rand((1, channels, height, width), generator=generator, device=device).requires_grad_()
        features = backbone.feature_map(images * 1.0)  # a copy, because rectifiers may write in place
        middle = features[:, :, features.shape[2] // 2, features.shape[3] // 2]
        (gradient,) = torch.autograd.grad(middle.sum(), images)
        seen |= (gradient != 0).any(1)[0]
    backbone.train(training)
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    return int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
