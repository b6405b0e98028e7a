"""Running statistics: observations and rewards scaled by the values seen so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.networks.layers.inputs import Obs

EPS = 1e-8
"""Added to variances, so that constant values stay finite."""


class Moments(nn.Module):
    """Count, mean and variance (divided by the count) of all values of one shape seen so far, in float64.

    They are float32 on a device without float64 (Apple's). Before any value the mean is 0 and the variance 1.
    `gather` gives the numbers [...] of all processes that see a share of the values, [L, ...].
    """

    gather: Callable[[Tensor], Tensor] | None = None

    count: Tensor
    mean: Tensor
    var: Tensor

    def __init__(self, shape: tuple[int, ...], *, device: torch.device | str = "cpu") -> None:
        super().__init__()
        dtype = torch.float32 if torch.device(device).type == "mps" else torch.float64
        self.register_buffer("count", torch.zeros((), dtype=dtype, device=device))
        self.register_buffer("mean", torch.zeros(shape, dtype=dtype, device=device))
        self.register_buffer("var", torch.ones(shape, dtype=dtype, device=device))

    @torch.no_grad()
    def update(self, values: Tensor, weight: Tensor | None = None) -> None:
        """Merge values [..., *shape], each row counted `weight` [...] times (bool or float, None for once).

        The batch's moments are merged with those before (Chan et al. 1983, eq. 2.1): any split of the same rows gives
        the same statistics. Rows of weight 0 may hold anything, and a batch of them changes nothing.
        """
        rows = values.reshape(-1, self.mean.numel()).to(self.mean.dtype)  # [R, D]
        if weight is None:
            size = torch.full_like(self.count, len(rows))
            batch_mean = rows.sum(0) / _positive(size)
            squares = (rows - batch_mean).square().sum(0)
        else:
            counts = weight.reshape(-1, 1).to(rows.dtype)
            rows = torch.where(counts > 0, rows, 0.0)
            size = counts.sum()
            batch_mean = (counts * rows).sum(0) / _positive(size)
            squares = (counts * (rows - batch_mean).square()).sum(0)
        if self.gather is None:
            self._merge(size, batch_mean, squares)
            return
        for told in self.gather(torch.cat([size.view(1), batch_mean, squares])):
            self._merge(told[0], *told[1:].chunk(2))

    def _merge(self, size: Tensor, batch_mean: Tensor, squares: Tensor) -> None:
        """Count `size` [] more rows, by their mean and summed squared deviations [D]."""
        mean, var = self.mean.flatten(), self.var.flatten()
        total = self.count + size
        share, delta = size / _positive(total), batch_mean - mean
        merged = (self.count * var + squares) / _positive(total) + delta.square() * share * (1.0 - share)
        self.var.copy_(torch.where(size > 0, merged, var).view_as(self.var))
        self.mean.copy_((mean + delta * share).view_as(self.mean))
        self.count.copy_(total)


class RunningNorm(nn.Module):
    """Observations [..., *shape] shifted and scaled to mean 0 and variance 1 of those that `update` saw, clipped.

    In a dict every part has its own statistics. Box parts of floats are normalised and become float32; integers
    (images among them), Discrete, MultiDiscrete and MultiBinary parts stay as they are. Leading axes are any.
    """

    def __init__(
        self, observation_space: gym.Space[Any], *, clip: float = 10.0, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__()
        if not clip > 0.0:
            raise ValueError(f"clip must be > 0, got {clip}")
        self.clip = clip
        self.moments: Moments | None = None
        self.parts, self.keys = nn.ModuleList(), list[str]()
        space = observation_space
        if isinstance(space, spaces.Dict | spaces.Tuple):
            named = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
            norms = {str(key): RunningNorm(part, clip=clip, device=device) for key, part in named}
            self.parts, self.keys = nn.ModuleList(norms.values()), list(norms)
        elif isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
            self.moments = Moments(space.shape, device=device)

    def update(self, obs: Obs, weight: Tensor | None = None) -> None:
        """Count a batch [B, ...]; `weight` [B], bool or float, selects and weights rows."""
        if self.moments is not None:
            self.moments.update(obs, weight)
        for key, part in zip(self.keys, self.parts, strict=True):
            part.update(obs[key], weight)  # type: ignore[operator]

    def forward(self, obs: Obs) -> Obs:
        if self.keys:
            return {key: part(obs[key]) for key, part in zip(self.keys, self.parts, strict=True)}
        if self.moments is None:
            return obs
        normal = (obs - self.moments.mean) * (self.moments.var + EPS).rsqrt()
        return normal.clamp(-self.clip, self.clip).float()


class RunningScale(Moments):
    """Running standard deviation of a stream of numbers: rewards are divided by that of their discounted sums.

    If all numbers were the same it is sqrt(1e-8), so clip quotients.
    """

    def __init__(self, *, device: torch.device | str = "cpu") -> None:
        super().__init__((), device=device)

    def std(self) -> Tensor:
        """Standard deviation, 0-d float32; 1 before any number."""
        return (self.var + EPS).sqrt().float()


def _positive(number: Tensor) -> Tensor:
    """A number >= 0 that may be divided by."""
    return number.clamp(min=1e-30)
