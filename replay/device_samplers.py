"""Samplers of `samplers.py` where all tensors lie on a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from gymnast.replay.samplers import EPS


class DeviceSampler(Protocol):
    """Draws slots of a ring on a device; nothing is read by the host."""

    slot_bytes: int
    """Memory of one slot."""

    def allocate(self, slots: int, device: torch.device) -> None:
        """Make room for a ring of so many slots; called once."""
        ...

    def anneal(self, env_step: int) -> None:
        """Set what a schedule of the env step decides."""
        ...

    def added(self, slot: Tensor) -> None:
        """Slots (int64 [N], of which the ring's number of slots stands for none) have become ready."""
        ...

    def sample(self, ready: Tensor, index: Tensor, weight: Tensor) -> None: ...

    def update(self, index: Tensor, error: Tensor) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class DeviceUniform:
    """`Uniform` where all tensors lie on a device: the k-th ready slot for uniform k, found in a running sum."""

    slot_bytes = 0

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def allocate(self, slots: int, device: torch.device) -> None:
        """Nothing: the ring says what is ready."""

    def anneal(self, env_step: int) -> None:
        """Nothing: no schedule."""

    def added(self, slot: Tensor) -> None:
        """Nothing: the ring says what is ready."""

    def sample(self, ready: Tensor, index: Tensor, weight: Tensor) -> None:
        running = ready.cumsum(0)  # int64 [slots]
        drawn = torch.randint(2**62, index.shape, generator=self.generator, device=index.device)
        rank = drawn % running[-1] + 1  # as good as uniform: 2**62 is far more than the slots of any ring
        torch.searchsorted(running, rank, out=index)
        weight.fill_(1.0)

    def update(self, index: Tensor, error: Tensor) -> None:
        """Nothing: errors do not change uniform samples."""

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"].cpu())


class DevicePrioritized:
    """`Prioritized` where all tensors lie on a device."""

    slot_bytes = 4

    def __init__(
        self, generator: torch.Generator, *, alpha: float, beta: Callable[[int], float], ranked: bool = False
    ) -> None:
        self.generator, self.alpha, self.schedule, self.ranked = generator, alpha, beta, ranked

    def allocate(self, slots: int, device: torch.device) -> None:
        self.priority = torch.zeros(slots + 1, device=device)  # the last one is written where nothing is meant
        self.largest = torch.ones((), device=device)
        self.beta = torch.full((), self.schedule(0), device=device)

    def anneal(self, env_step: int) -> None:
        self.beta.fill_(self.schedule(env_step))

    def added(self, slot: Tensor) -> None:
        self.priority[slot] = self.largest**self.alpha

    def sample(self, ready: Tensor, index: Tensor, weight: Tensor) -> None:
        priority = self.priority[:-1] * ready
        running = priority.cumsum(0, dtype=torch.float64)
        drawn = torch.rand(index.shape, generator=self.generator, device=index.device, dtype=torch.float64)
        torch.searchsorted(running, drawn * running[-1], right=True, out=index)
        weights = (ready.sum() * priority[index] / running[-1]).pow(-self.beta)
        weight.copy_(weights / weights.max())

    def update(self, index: Tensor, error: Tensor) -> None:
        errors = error + EPS
        torch.maximum(self.largest, errors.max(), out=self.largest)
        self.priority[index] = errors**self.alpha

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state(), "largest": self.largest, "priority": self.priority}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"].cpu())
        self.largest.copy_(state["largest"])
        self.priority.copy_(state["priority"])
