"""From stored steps to the transitions that a loss reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(slots=True)
class Batch:
    """B sampled transitions; the tensors are buffers that the next sample overwrites."""

    obs: Any
    """[B, ...], or a nested dict of such."""
    action: Tensor
    """int64 [B], counted from 0."""
    reward: Tensor
    """float32 [B], discounted sum over the n steps of the transition."""
    discount: Tensor
    """float32 [B], what the value of `next_obs` is multiplied by: gamma**n, or 0 after a terminal state."""
    next_obs: Any
    """[B, ...], n steps later, or the final observation of an episode that ended sooner."""
    weight: Tensor
    """float32 [B], the sampler's correction of each sample's loss; 1 for uniform samples."""
    next_mask: Tensor | None
    """bool [B, A], actions allowed in `next_obs`, where the environment says them."""
    index: Tensor
    """int64 [B], where the transitions lie, for the sampler."""


@dataclass(frozen=True)
class NStep:
    """Builds transitions of n steps from single ones (n = 1: the single ones); ends stop a window.

    The arrays may be NumPy's or torch's.
    """

    n: int
    gamma: float

    def build(
        self, index: Any, *, reward: Any, bootstrap: Any, stop: Any, stride: int
    ) -> tuple[Any, Any, Any]:  # int [B] -> float32 [B], float32 [B], int [B]
        """Discounted reward sums, discounts and where the successors lie.

        R = r_0 + gamma r_1 + … over m <= n steps, and gamma**m * bootstrap of the last of them (Sutton & Barto 2018,
        eq. 7.1). `bootstrap` is 1 - terminated, `stop` true on the last step of a window; the step after slot i lies
        at i + stride, counted in a circle; the successors are not yet taken modulo the number of slots.
        """
        size = len(reward)
        total, discount, last, going = reward[index], self.gamma * bootstrap[index], index, True
        for power in range(1, self.n):
            going = going & ~stop[last]
            last = (last + stride * going) % size
            total = total + self.gamma**power * reward[last] * going
            discount = discount * ~going + self.gamma ** (power + 1) * bootstrap[last] * going
        return total, discount, last + stride
