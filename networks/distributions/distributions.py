"""Distributions over actions from the outputs of a policy head, one for each kind of action space."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.networks.distributions.choices import Bernoulli, Categorical, MultiCategorical
from gymnast.networks.distributions.gaussians import Gaussian, SquashedGaussian

__all__ = [
    "Bernoulli",
    "Categorical",
    "Distribution",
    "DrawnByNumbers",
    "Gaussian",
    "MultiCategorical",
    "SquashedGaussian",
    "distribution",
]


@runtime_checkable
class DrawnByNumbers(Protocol):
    """A distribution that can be drawn from without a generator."""

    @property
    def uniforms(self) -> int:
        """Numbers of a row that `drawn_by` takes."""
        ...

    def drawn_by(self, output: Tensor, uniform: Tensor) -> Tensor:
        """`sample`, of outputs [N, ...], by given numbers [N, uniforms] strictly between 0 and 1."""
        ...


class Distribution(Protocol):
    """One meaning of the outputs [..., outputs + scales] of a head; leading axes are any, and stay.

    Learning stores raw actions: their probability is computed exactly as they were drawn. `to_env` turns them
    into the environment's actions.
    """

    outputs: int
    """P, numbers of each row that the head's last layer gives."""
    scales: int
    """Learned log standard deviations that do not depend on the observation; the head appends them to each row."""
    shape: tuple[int, ...]
    """Of one raw action."""
    dtype: torch.dtype
    """Of raw actions: int64 for choices, float32 for real numbers."""

    def sample(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """Raw actions [..., *shape]; the generator is on the outputs' device and is used once."""
        ...

    def mode(self, output: Tensor) -> Tensor:
        """The most probable raw actions [..., *shape]."""
        ...

    def log_prob(self, output: Tensor, raw: Tensor) -> Tensor:
        """Log-probability or log-density [...] of raw actions [..., *shape]."""
        ...

    def entropy(self, output: Tensor) -> Tensor:
        """Entropy [...] in nats."""
        ...

    def act(self, output: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """`sample`, and the `log_prob` of the result."""
        ...

    def log_prob_entropy(self, output: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """`log_prob` and `entropy`."""
        ...

    def kl(self, output: Tensor, other: Tensor) -> Tensor:
        """KL divergence [...] in nats of the distribution of `output` from that of `other`."""
        ...

    def masked(self, output: Tensor, mask: Tensor | None) -> Tensor:
        """The outputs with those blocked that the mask (bool [..., outputs], None allows all) does not allow.

        Distributions of real numbers have no choices to block and give the outputs back.
        """
        ...

    def to_env(self, raw: Tensor) -> Tensor:
        """The environment's actions, in its shape, dtype, numbering and bounds."""
        ...


def distribution(
    action_space: gym.Space[Any], *, squash: bool = False, device: torch.device | str = "cpu"
) -> Distribution:
    """The distribution over a space's actions; `squash` bounds those of a Box by tanh instead of clipping.

    Raises:
        ValueError: a space of another kind, integers in a Box, or bounds that cannot be squashed into.
    """
    device, space = torch.device(device), action_space
    if isinstance(space, spaces.Box):
        if not np.issubdtype(space.dtype, np.floating):
            raise ValueError(f"a policy cannot act in a Box of {space.dtype}; use a Box of floats or MultiDiscrete")
        if not squash:
            return Gaussian(space, device=device)
        if not (np.isfinite(space.low) & np.isfinite(space.high) & (space.low < space.high)).all():
            raise ValueError(f"squash needs a Box with finite bounds, low < high, got {_line(space)}; use squash=False")
        return SquashedGaussian(space, device=device)
    if squash:
        raise ValueError(f"squash needs a Box with finite bounds, got {_line(space)}; use squash=False")
    if isinstance(space, spaces.Discrete):
        return Categorical(space)
    if isinstance(space, spaces.MultiDiscrete):
        return MultiCategorical(space, device=device)
    if isinstance(space, spaces.MultiBinary):
        return Bernoulli(space)
    raise ValueError(
        f"a policy cannot act in a {type(space).__name__} space; use Discrete, MultiDiscrete, MultiBinary or Box"
    )


def _line(space: gym.Space[Any]) -> str:
    return " ".join(str(space).split())
