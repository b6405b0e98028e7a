"""Builds the transitions that a loss reads from stored steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(slots=True)
class Batch:
    """B sampled transitions; the tensors are buffers that the next sample overwrites."""

    obs: Any
    """[B, ...], or a nested dict of these."""
    action: Tensor
    """int64 [B], counted from 0, or float32 [B, D], the numbers of a Box."""
    reward: Tensor
    """float32 [B], discounted sum over the n steps of the transition."""
    discount: Tensor
    """float32 [B], the factor of the value of `next_obs`: gamma**n, or 0 after a terminal state."""
    next_obs: Any
    """[B, ...], n steps later, or the final observation of an episode that ended sooner."""
    weight: Tensor
    """float32 [B], the sampler's correction of each sample's loss; 1 for uniform samples."""
    next_mask: Tensor | None
    """bool [B, A], actions allowed in `next_obs`, if the environment provides them."""
    index: Tensor
    """int64 [B], the slots of the transitions, for the sampler."""
    mask: Tensor | None = None
    """bool [B, A], actions allowed in `obs`, likewise."""


@dataclass(frozen=True)
class NStep:
    """Transitions of n steps from stored single ones (n = 1: the single ones); ends stop a window.

    R = r_0 + gamma r_1 + … over m <= n steps, and the discount gamma**m * bootstrap of the last of them (Sutton & Barto
    2018, eq. 7.1), where `bootstrap` is 1 - terminated. The rings compute them: `ring_kernels.windows` on the CPU,
    `windows` in `device/ring.py` on a device.
    """

    n: int
    gamma: float | tuple[float, ...]
    """Discount per step; of several each is that of an equal share of the streams, in their order."""

    @property
    def gammas(self) -> tuple[float, ...]:
        return self.gamma if isinstance(self.gamma, tuple) else (self.gamma,)
