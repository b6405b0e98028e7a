"""Samplers choose the transitions of an update and the weights of their losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from gymnast.replay.ranking import Ranking
    from gymnast.replay.sum_tree import SumTree

EPS = 1e-6
"""Added to every error, so that every transition can be replayed."""


class Sampler(Protocol):
    """Draws slots of a ring on the CPU."""

    slot_bytes: int
    """Memory of one slot."""

    def allocate(self, slots: int) -> None:
        """Allocate memory for a ring of `slots` slots; called once."""
        ...

    def anneal(self, env_step: int) -> None:
        """Set the values of schedules over env steps."""
        ...

    def changed(self, slots: np.ndarray, ready: np.ndarray) -> None:
        """Slots, int64 [K], have become ready or are no longer ready, as in `ready` (bool [slots])."""
        ...

    def sample(self, ready: np.ndarray, count: int, index: np.ndarray, weight: np.ndarray) -> None:
        """Fill `index`, int64 [B], with `ready` slots (bool [slots], `count` of them), and `weight`."""
        ...

    def update(self, index: Tensor, error: Tensor) -> None:
        """Update with the errors [B], >= 0 and unweighted, of the sampled transitions."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Uniform:
    """Every ready transition with the same probability, with replacement; weight 1."""

    slot_bytes = 0

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def allocate(self, slots: int) -> None:
        """No-op: the ring has the ready slots."""

    def anneal(self, env_step: int) -> None:
        """No-op: no schedule."""

    def changed(self, slots: np.ndarray, ready: np.ndarray) -> None:
        """No-op: the ring has the ready slots."""

    def sample(self, ready: np.ndarray, count: int, index: np.ndarray, weight: np.ndarray) -> None:
        # Rejection: uniform slots, of which only the ready ones are kept, are uniform over the ready ones.
        filled = 0
        while filled < len(index):
            missing = len(index) - filled
            size = missing * len(ready) // count + missing // 8 + 1
            drawn = (self.rng.random(size) * len(ready)).astype(np.int64)  # twice as fast as `integers`
            kept = drawn[ready[drawn]][:missing]
            index[filled : filled + len(kept)] = kept
            filled += len(kept)
        weight[:] = 1.0

    def update(self, index: Tensor, error: Tensor) -> None:
        """No-op: errors do not change uniform samples."""

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]


class Prioritized:
    """Transitions in proportion to priority**alpha, or to 1 / rank**alpha (Schaul et al. 2016, algorithm 1).

    A batch has one transition from each of B equal parts of the mass. A new transition has the largest priority so
    far. Weights are (N P)**-beta, divided by the largest of the batch.
    """

    def __init__(
        self, rng: np.random.Generator, *, alpha: float, beta: Callable[[int], float], ranked: bool = False
    ) -> None:
        self.rng, self.alpha, self.schedule, self.ranked = rng, alpha, beta, ranked
        self.beta = beta(0)
        self.largest = 1.0
        self._kind = _order(ranked)
        self.slot_bytes = self._kind.slot_bytes

    def allocate(self, slots: int) -> None:
        self._order: SumTree | Ranking = self._kind(slots, self.alpha)

    def anneal(self, env_step: int) -> None:
        self.beta = self.schedule(env_step)

    def changed(self, slots: np.ndarray, ready: np.ndarray) -> None:
        self._order.change(slots, ready, self.largest)

    def sample(self, ready: np.ndarray, count: int, index: np.ndarray, weight: np.ndarray) -> None:
        self._order.draw(self.rng.random(len(index)), self.beta, index, weight)

    def update(self, index: Tensor, error: Tensor) -> None:
        """Update with errors; those of slots no longer ready, and those that are not finite, change nothing."""
        self.largest = max(self.largest, self._order.update(index.numpy(), error.float().numpy() + EPS))

    def state_dict(self) -> dict[str, Any]:
        return {
            "rng": self.rng.bit_generator.state,
            "largest": self.largest,
            "priority": torch.from_numpy(self._order.masses),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]
        self.largest = state["largest"]
        self._order.load(state["priority"].numpy())


def _order(ranked: bool) -> type[Ranking] | type[SumTree]:
    """What keeps priorities; both load Numba, which uniform samples do not need."""
    if ranked:
        from gymnast.replay.ranking import Ranking

        return Ranking
    from gymnast.replay.sum_tree import SumTree

    return SumTree
