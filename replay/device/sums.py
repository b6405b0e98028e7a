"""Masses of slots on a device, and the slot at any part of their sum: two levels of sums instead of a tree."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 1024
"""Slots whose masses are summed together: a million slots are a thousand sums."""


class DeviceSums:
    """A mass for each slot, and one that is always 0 for the slot after the last, which means no slot.

    Two short running sums and two searches find a slot; a single running sum over a million slots would be read and
    written each time. The sums of all changed blocks are recomputed, so no rounding error accumulates.
    """

    slot_bytes = 4

    def __init__(self, slots: int, device: torch.device, *, block: int = BLOCK) -> None:
        self.slots, self.block = slots, block
        blocks = slots // block + 1
        self._masses = torch.zeros((blocks, block), device=device)
        self._sums = torch.zeros(blocks, dtype=torch.float64, device=device)
        self.mass = self._masses.view(-1)[: slots + 1]

    def set(self, slots: Tensor, mass: Tensor) -> None:
        """Write the masses [K] of slots, int64 [K]; the slot after the last gets 0."""
        self.mass[slots] = torch.where(slots < self.slots, mass, 0.0)
        block = slots // self.block
        self._sums[block] = self._masses[block].sum(1, dtype=torch.float64)

    def find(self, part: Tensor) -> Tensor:
        """The slots at these parts (float64 [B], in [0, 1)) of the total sum; none has mass 0."""
        sums = self.running()
        return self.at(sums, part * sums[-1])

    def running(self) -> Tensor:
        """The sum of each block and those before it, float64 [blocks]."""
        return self._sums.cumsum(0)

    def at(self, sums: Tensor, rest: Tensor) -> Tensor:
        """The slots at these distances (float64 [B], below the total) along the sums that `running` gives."""
        before = functional.pad(sums, (1, 0))
        block = _place(sums, rest)  # not a slice, which Inductor cannot search before torch 2.13
        running = self._masses[block].cumsum(1, dtype=torch.float64)  # [B, BLOCK]
        place = _place(running, (rest - before[block]).unsqueeze(1)).squeeze(1)
        return block * self.block + place

    def load(self, mass: Tensor) -> None:
        """Load the masses [slots] of all slots."""
        self.mass[:-1] = mass
        self._sums.copy_(self._masses.sum(1, dtype=torch.float64))


def _place(running: Tensor, rest: Tensor) -> Tensor:
    """The first place whose running sum exceeds `rest`; if rounding leaves none, the last that adds to the sum."""
    last = torch.searchsorted(running, running[..., -1:].contiguous())
    return torch.minimum(torch.searchsorted(running, rest, right=True), last)
