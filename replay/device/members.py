"""`MemberUniform` of `members.py` with all tensors on a device: fixed shapes, and the host reads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from gymnast.replay.device.sums import DeviceSums

BLOCK = 128
"""Slots whose masses are summed together."""


class Numbers(Protocol):
    """Random numbers of M members, as populations draw them."""

    @property
    def generators(self) -> Sequence[torch.Generator]: ...
    def uniform(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), [M, *shape]."""
        ...

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class DeviceMemberUniform:
    """Each of M members draws from the ready slots of its own N streams, all with the same probability."""

    slot_bytes = DeviceSums.slot_bytes

    def __init__(self, numbers: Numbers, *, members: int, num_envs: int) -> None:
        self.numbers, self.members, self.num_envs = numbers, members, num_envs

    @property
    def generators(self) -> Sequence[torch.Generator]:
        return self.numbers.generators

    def allocate(self, slots: int, device: torch.device) -> None:
        """A region of whole blocks for each member, in which its slots are in the order of a ring of its own."""
        self.slots, own = slots, slots // self.members
        self._blocks = -(-own // BLOCK)
        self._region = self._blocks * BLOCK
        self._sums = DeviceSums(self.members * self._region, device, block=BLOCK)

    def anneal(self, env_step: int) -> None:
        """Nothing: no schedule."""

    def changed(self, slots: Tensor, ready: Tensor) -> None:
        stride, own = self.members * self.num_envs, self.num_envs
        place = slots % stride // own * self._region + slots // stride * own + slots % own
        place = torch.where(slots < self.slots, place, self._sums.slots)
        self._sums.set(place, ready[slots].float())

    def fill(self, uniform: Tensor) -> None:
        uniform.copy_(self.numbers.uniform(len(uniform) // self.members).flatten())

    def draw(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """As many slots for each member, member by member."""
        sums, own = self._sums.running(), self.num_envs
        end = sums[: self.members * self._blocks].view(self.members, -1)[:, -1]  # ready slots up to each member's last
        begin = torch.cat([torch.zeros_like(end[:1]), end[:-1]])
        count = (end - begin).unsqueeze(1)
        rank = torch.minimum((uniform.view(self.members, -1) * count).floor(), count - 1.0)
        place = self._sums.at(sums, (begin.unsqueeze(1) + rank).flatten())
        member, place = place // self._region, place % self._region
        slot = place // own * (self.members * own) + member * own + place % own
        return slot, torch.ones_like(uniform, dtype=torch.float32)

    def update(self, index: Tensor, error: Tensor) -> None:
        """Nothing: errors do not change uniform samples."""

    def state_dict(self) -> dict[str, Any]:
        return {"numbers": self.numbers.state_dict(), "ready": self._sums.mass[:-1]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.numbers.load_state_dict(state["numbers"])
        self._sums.load(state["ready"])
