"""`MemberSampler` of `members.py` with all tensors on a device: fixed shapes, and the host reads nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from gymnast.replay.device.sums import DeviceSums
from gymnast.replay.samplers import EPS

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
        """A region of whole blocks for each member, in which its slots are in the order of its own ring."""
        self.slots, own = slots, slots // self.members
        self._blocks = -(-own // BLOCK)
        self._region = self._blocks * BLOCK
        self._sums = DeviceSums(self.members * self._region, device, block=BLOCK)

    def anneal(self, env_step: int) -> None:
        """Nothing: no schedule."""

    def _places(self, slots: Tensor) -> Tensor:
        """Indices of the masses of the ring's slots; past all others for no slot."""
        stride, own = self.members * self.num_envs, self.num_envs
        place = slots % stride // own * self._region + slots // stride * own + slots % own
        return torch.where(slots < self.slots, place, self._sums.slots)

    def _slots(self, place: Tensor) -> Tensor:
        """The slots of the ring whose masses are at these places, [M, B] to [M * B]."""
        own = self.num_envs
        member, place = place // self._region, place % self._region
        return (place // own * (self.members * own) + member * own + place % own).flatten()

    def _ends(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        """Begin and end of each member's masses along the running sums, [M, 1] each."""
        end = sums[: self.members * self._blocks].view(self.members, -1)[:, -1:]
        return torch.cat([torch.zeros_like(end[:1]), end[:-1]]), end

    def changed(self, slots: Tensor, ready: Tensor) -> None:
        self._sums.set(self._places(slots), ready[slots].float())

    def fill(self, uniform: Tensor) -> None:
        uniform.copy_(self.numbers.uniform(len(uniform) // self.members).flatten())

    def draw(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """As many slots for each member, member by member."""
        sums = self._sums.running()
        begin, end = self._ends(sums)
        count = end - begin
        rank = torch.minimum((uniform.view(self.members, -1) * count).floor(), count - 1.0)
        place = self._sums.at(sums, (begin + rank).flatten())
        return self._slots(place), torch.ones_like(uniform, dtype=torch.float32)

    def update(self, index: Tensor, error: Tensor) -> None:
        """No-op: errors do not change uniform samples."""

    def state_dict(self) -> dict[str, Any]:
        return {"numbers": self.numbers.state_dict(), "ready": self._sums.mass[:-1]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.numbers.load_state_dict(state["numbers"])
        self._sums.load(state["ready"])


class DeviceMemberPrioritized(DeviceMemberUniform):
    """`DevicePrioritized` for each member: its own masses, and its own largest priority."""

    def __init__(
        self,
        numbers: Numbers,
        *,
        members: int,
        num_envs: int,
        alpha: float,
        beta: Callable[[int], float],
        ranked: bool = False,
    ) -> None:
        super().__init__(numbers, members=members, num_envs=num_envs)
        self.alpha, self.schedule, self.ranked = alpha, beta, ranked
        self.slot_bytes = DeviceSums.slot_bytes + (24 if ranked else 0)  # the buffers for sorting
        self._annealed = beta(0)

    def allocate(self, slots: int, device: torch.device) -> None:
        super().allocate(slots, device)
        self.largest = torch.ones(self.members, device=device)
        self.beta = torch.full((), self._annealed, dtype=torch.float64, device=device)
        if self.ranked:
            running = torch.arange(1, self._region + 1, dtype=torch.float64, device=device).pow(-self.alpha).cumsum(0)
            self._running = torch.cat([running.new_zeros(1), running])  # [region + 1], masses of the first ranks

    def anneal(self, env_step: int) -> None:
        beta = self.schedule(env_step)
        if beta != self._annealed:
            self._annealed = beta
            self.beta.fill_(beta)

    def changed(self, slots: Tensor, ready: Tensor) -> None:
        largest = self.largest[slots % (self.members * self.num_envs) // self.num_envs]
        mass = largest if self.ranked else largest**self.alpha
        self._sums.set(self._places(slots), mass * ready[slots])

    def draw(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        own = uniform.view(self.members, -1)
        part = (torch.arange(own.shape[1], device=own.device) + own) / own.shape[1]  # of equal parts of the mass
        if self.ranked:
            place, share = self._by_rank(part)
        else:
            sums = self._sums.running()
            begin, end = self._ends(sums)
            rest = torch.minimum(begin + part * (end - begin), torch.nextafter(end, begin))
            place = self._sums.at(sums, rest.flatten()).view_as(part)
            share = self._sums.mass[place].double()
        weight = (share.amin(1, keepdim=True) / share).pow(self.beta).float()
        return self._slots(place), weight.flatten()

    def _by_rank(self, part: Tensor) -> tuple[Tensor, Tensor]:
        """Places at parts [M, B] of the sum of 1 / rank**alpha, and their shares; see `DevicePrioritized`."""
        masses = self._sums.mass[: self.members * self._region].view(self.members, -1)
        keys, order = torch.sort(-masses, stable=True)
        count = torch.searchsorted(keys, torch.zeros_like(keys[:, :1]))  # of slots that may be drawn
        mass = part * self._running[count]
        rank = torch.minimum(torch.searchsorted(self._running, mass, right=True) - 1, count - 1)
        key = keys.gather(1, rank)
        first, end = torch.searchsorted(keys, key), torch.searchsorted(keys, key, right=True)
        share = (self._running[end] - self._running[first]) / (end - first)
        at = ((mass - self._running[first]) / share).long()
        place = order.gather(1, torch.minimum(first + at, end - 1))
        return place + torch.arange(self.members, device=place.device).unsqueeze(1) * self._region, share

    def update(self, index: Tensor, error: Tensor) -> None:
        """Update with errors; those of slots no longer ready, and those that are not finite, change nothing."""
        place = self._places(index).view(self.members, -1)
        priority = error.float().view_as(place) + EPS
        counts = (self._sums.mass[place] > 0) & priority.isfinite()
        self.largest.copy_(torch.maximum(self.largest, torch.where(counts, priority, 0.0).amax(1)))
        # Of equal slots the last one counts: otherwise chance would decide which of several writes stays.
        same = place.unsqueeze(2) == place.unsqueeze(1)
        repeated = (same & counts.unsqueeze(1)).triu(1).any(2)
        place = torch.where(counts & ~repeated, place, self._sums.slots)
        self._sums.set(place.flatten(), (priority if self.ranked else priority**self.alpha).flatten())

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "largest": self.largest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.largest.copy_(state["largest"])
