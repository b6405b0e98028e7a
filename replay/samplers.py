"""Samplers choose which transitions an update learns from, and what their losses are weighted by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

EPS = 1e-6
"""Added to every error, so that none is never replayed."""


class Sampler(Protocol):
    """Draws slots of a ring on the CPU."""

    slot_bytes: int
    """Memory of one slot."""

    def allocate(self, slots: int) -> None:
        """Make room for a ring of so many slots; called once."""
        ...

    def anneal(self, env_step: int) -> None:
        """Set what a schedule of the env step decides."""
        ...

    def added(self, slot: int) -> None:
        """A slot has become ready."""
        ...

    def removed(self, slot: int) -> None:
        """A slot is ready no longer."""
        ...

    def sample(self, ready: np.ndarray, count: int, index: np.ndarray, weight: np.ndarray) -> None:
        """Fill `index`, int64 [B], with `ready` slots (bool [slots], `count` of them), and `weight`."""
        ...

    def update(self, index: Tensor, error: Tensor) -> None:
        """Take in the errors [B], >= 0 and unweighted, that the sampled transitions had."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Uniform:
    """Every ready transition with the same probability, with replacement; weight 1."""

    slot_bytes = 0

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def allocate(self, slots: int) -> None:
        """Nothing: the ring says what is ready."""

    def anneal(self, env_step: int) -> None:
        """Nothing: no schedule."""

    def added(self, slot: int) -> None:
        """Nothing: the ring says what is ready."""

    def removed(self, slot: int) -> None:
        """Nothing: the ring says what is ready."""

    def sample(self, ready: np.ndarray, count: int, index: np.ndarray, weight: np.ndarray) -> None:
        # Rejection: uniform slots of which the ready ones are kept are uniform over the ready ones.
        filled = 0
        while filled < len(index):
            missing = len(index) - filled
            drawn = self.rng.integers(len(ready), size=missing * len(ready) // count + missing // 8 + 1)
            kept = drawn[ready[drawn]][:missing]
            index[filled : filled + len(kept)] = kept
            filled += len(kept)
        weight[:] = 1.0

    def update(self, index: Tensor, error: Tensor) -> None:
        """Nothing: errors do not change uniform samples."""

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]


class Prioritized:
    """Transitions in proportion to priority**alpha (Schaul et al. 2016, algorithm 1).

    A new transition has the largest priority so far. Weights are (N P)**-beta, divided by the largest of the batch.
    """

    slot_bytes = 8

    def __init__(
        self, rng: np.random.Generator, *, alpha: float, beta: Callable[[int], float], ranked: bool = False
    ) -> None:
        self.rng, self.alpha, self.schedule, self.ranked = rng, alpha, beta, ranked
        self.beta = beta(0)
        self.largest = 1.0

    def allocate(self, slots: int) -> None:
        self.priority = np.zeros(slots)

    def anneal(self, env_step: int) -> None:
        self.beta = self.schedule(env_step)

    def added(self, slot: int) -> None:
        self.priority[slot] = self.largest**self.alpha

    def removed(self, slot: int) -> None:
        self.priority[slot] = 0.0

    def sample(self, ready: np.ndarray, count: int, index: np.ndarray, weight: np.ndarray) -> None:
        running = np.cumsum(self.priority[: len(ready)])
        index[:] = np.searchsorted(running, self.rng.random(len(index)) * running[-1], side="right")
        weights = (count * self.priority[index] / running[-1]) ** -self.beta
        weight[:] = weights / weights.max()

    def update(self, index: Tensor, error: Tensor) -> None:
        errors = error.numpy() + EPS
        self.largest = max(self.largest, float(errors.max()))
        self.priority[index.numpy()] = errors**self.alpha

    def state_dict(self) -> dict[str, Any]:
        return {
            "rng": self.rng.bit_generator.state,
            "largest": self.largest,
            "priority": torch.from_numpy(self.priority),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]
        self.largest = state["largest"]
        self.priority[:] = state["priority"].numpy()
