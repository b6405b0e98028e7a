"""The samplers of `samplers.py` with all tensors on a device: fixed shapes, and the host reads nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from gymnast.replay.device.sums import DeviceSums
from gymnast.replay.samplers import EPS


class DeviceSampler(Protocol):
    """Draws slots of a ring on a device. An index equal to the number of the ring's slots means no slot."""

    slot_bytes: int
    """Memory of one slot."""

    @property
    def generators(self) -> Sequence[torch.Generator]:
        """Generators that `fill` draws from; a recording must know them."""
        ...

    def allocate(self, slots: int, device: torch.device) -> None:
        """Allocate memory for a ring of `slots` slots; called once."""
        ...

    def anneal(self, env_step: int) -> None:
        """Set the values of schedules over env steps."""
        ...

    def changed(self, slots: Tensor, ready: Tensor) -> None:
        """Slots, int64 [K], have become ready or are no longer ready, as in `ready` (bool [slots + 1])."""
        ...

    def fill(self, uniform: Tensor) -> None:
        """Fill float64 [B] with numbers from [0, 1) for `draw`."""
        ...

    def draw(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Slots int64 [B] and weights float32 [B] for numbers from [0, 1), float64 [B]; a function of tensors only."""
        ...

    def update(self, index: Tensor, error: Tensor) -> None:
        """Update with the errors [B], >= 0 and unweighted, of the sampled transitions."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class _Generated:
    """A sampler with a generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    @property
    def generators(self) -> tuple[torch.Generator, ...]:
        return (self.generator,)

    def fill(self, uniform: Tensor) -> None:
        uniform.uniform_(generator=self.generator)


class DeviceUniform(_Generated):
    """`Uniform`: every ready slot has mass 1."""

    slot_bytes = DeviceSums.slot_bytes

    def allocate(self, slots: int, device: torch.device) -> None:
        self._sums = DeviceSums(slots, device)

    def anneal(self, env_step: int) -> None:
        """Nothing: no schedule."""

    def changed(self, slots: Tensor, ready: Tensor) -> None:
        self._sums.set(slots, ready[slots].float())

    def draw(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        return self._sums.find(uniform), torch.ones_like(uniform, dtype=torch.float32)

    def update(self, index: Tensor, error: Tensor) -> None:
        """No-op: errors do not change uniform samples."""

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state(), "ready": self._sums.mass[:-1]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"].cpu())
        self._sums.load(state["ready"])


class DevicePrioritized(_Generated):
    """`Prioritized`: proportional by sums of masses; rank-based by sorting all priorities for every batch."""

    def __init__(
        self, generator: torch.Generator, *, alpha: float, beta: Callable[[int], float], ranked: bool = False
    ) -> None:
        super().__init__(generator)
        self.alpha, self.schedule, self.ranked = alpha, beta, ranked
        # Ranked: the running sums of 1 / rank**alpha, and the buffers for sorting.
        self.slot_bytes = DeviceSums.slot_bytes + (8 + 24 if ranked else 0)
        self._annealed = beta(0)

    def allocate(self, slots: int, device: torch.device) -> None:
        self.slots = slots
        self._sums = DeviceSums(slots, device)
        self.largest = torch.ones((), device=device)
        self.beta = torch.full((), self._annealed, dtype=torch.float64, device=device)
        if self.ranked:
            running = torch.arange(1, slots + 1, dtype=torch.float64, device=device).pow(-self.alpha).cumsum(0)
            self._running = torch.cat([running.new_zeros(1), running])  # [slots + 1], masses of the first ranks

    @property
    def mass(self) -> Tensor:
        """priority**alpha (ranked: the priority) of each slot [slots + 1], 0 if it may not be drawn."""
        return self._sums.mass

    def anneal(self, env_step: int) -> None:
        beta = self.schedule(env_step)
        if beta != self._annealed:
            self._annealed = beta
            self.beta.fill_(beta)

    def changed(self, slots: Tensor, ready: Tensor) -> None:
        mass = self.largest if self.ranked else self.largest**self.alpha
        self._sums.set(slots, mass * ready[slots])

    def draw(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        # One slot from each of B equal parts of the mass.
        part = (torch.arange(len(uniform), device=uniform.device) + uniform) / len(uniform)
        if self.ranked:
            index, share = self._by_rank(part)
        else:
            index = self._sums.find(part)
            share = self.mass[index].double()
        # (N P)**-beta over the largest of the batch: N and the sum of the masses cancel.
        return index, (share.amin() / share).pow(self.beta).float()

    def _by_rank(self, part: Tensor) -> tuple[Tensor, Tensor]:
        """Slots at parts of the sum of 1 / rank**alpha, and their shares, float64 [B].

        Equal priorities share the masses of their ranks.
        """
        keys, order = torch.sort(-self.mass[:-1], stable=True)
        count = torch.searchsorted(keys, keys.new_zeros(1))  # of slots that may be drawn
        mass = part * self._running[count]
        rank = torch.minimum(torch.searchsorted(self._running, mass, right=True) - 1, count - 1)
        key = keys[rank]
        first, end = torch.searchsorted(keys, key), torch.searchsorted(keys, key, right=True)
        share = (self._running[end] - self._running[first]) / (end - first)
        place = ((mass - self._running[first]) / share).long()
        return order[torch.minimum(first + place, end - 1)], share

    def update(self, index: Tensor, error: Tensor) -> None:
        """Update with errors; those of slots no longer ready, and those that are not finite, change nothing."""
        priority = error.float() + EPS
        counts = (self.mass[index] > 0) & priority.isfinite()
        self.largest.copy_(torch.maximum(self.largest, torch.where(counts, priority, 0.0).amax()))
        # Of equal slots the last one counts: otherwise chance would decide which of several writes stays.
        repeated = ((index.unsqueeze(1) == index) & counts).triu(1).any(1)
        slots = torch.where(counts & ~repeated, index, self.slots)
        self._sums.set(slots, priority if self.ranked else priority**self.alpha)

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state(), "largest": self.largest, "priority": self.mass[:-1]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["generator"].cpu())
        self.largest.copy_(state["largest"])
        self._sums.load(state["priority"])
