"""One ring for many agents: M * N streams, N of each member in turn, of which a member samples only its own.

A member's slots, in their order, are those of its own ring: slot j is in row j // N, column j % N, and the ring of
all members has that row with M * N columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from gymnast.replay.ring import Ring
from gymnast.replay.samplers import Prioritized, Uniform


class MemberSampler:
    """A sampler for each member, which draws as from the member's own ring.

    `watch` gives it the ring that they sample from, of which every step writes every stream.
    """

    def __init__(self, samplers: Sequence[Uniform | Prioritized]) -> None:
        self.samplers = samplers
        self.slot_bytes = 1 + samplers[0].slot_bytes
        self._told = not isinstance(samplers[0], Uniform)  # uniform samplers do not need changes and errors

    def allocate(self, slots: int) -> None:
        members = len(self.samplers)
        for sampler in self.samplers:
            sampler.allocate(slots // members)
        self._ready = np.zeros((members, slots // members), np.bool_)
        self._counts = np.zeros((2, members), np.int64)  # of each member: slots that are ready, slots ever written

    def watch(self, ring: Ring) -> None:
        """The ring whose `slot` gives the written length of each stream."""
        self._slot, self._last = ring.slot, np.full_like(ring.slot, -1)
        self._of_ring = ring.ready

    def anneal(self, env_step: int) -> None:
        for sampler in self.samplers:
            sampler.anneal(env_step)

    def changed(self, slots: np.ndarray, ready: np.ndarray) -> None:
        member, place = self._follow(slots, ready)
        if not self._told:
            return
        for number in np.unique(member):
            self.samplers[number].changed(place[member == number], self._ready[number])

    def _follow(self, slots: np.ndarray, ready: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bring the members' views of the ring up to date; the members and their own slots."""
        member, place = np.empty_like(slots), np.empty_like(slots)
        _follow(slots, ready, self._slot, self._last, self._ready, self._counts, member, place)
        return member, place

    def sample(self, ready: np.ndarray, count: int, index: np.ndarray, weight: np.ndarray) -> None:
        """Fill `index`, int64 [M * B], member by member; ValueError if a member has no ready slot."""
        members = len(self.samplers)
        own, streams = index.reshape(members, -1), len(self._slot) // members
        weights = weight.reshape(members, -1)
        for member, (count, used) in enumerate(self._counts.T.tolist()):
            if count == 0:
                raise ValueError(f"nothing to sample: no transition of member {member} is complete yet")
            self.samplers[member].sample(self._ready[member, :used], count, own[member], weights[member])
        if self._told:
            self._drawn = own.copy()
        rows, columns = np.divmod(own, streams)
        columns += np.arange(members)[:, None] * streams
        np.add(rows * len(self._slot), columns, out=own)

    def update(self, index: Tensor, error: Tensor) -> None:
        """Update with the errors of the last sample."""
        if not self._told:
            return
        errors = error.view(len(self.samplers), -1).unbind(0)
        for sampler, drawn, own in zip(self.samplers, torch.from_numpy(self._drawn), errors, strict=True):
            sampler.update(drawn, own)

    def state_dict(self) -> dict[str, Any]:
        return {"members": [sampler.state_dict() for sampler in self.samplers], "used": self._counts[1].tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for sampler, kept in zip(self.samplers, state["members"], strict=True):
            sampler.load_state_dict(kept)
        self._ready[:], self._counts[:] = False, 0
        self._last[:] = self._slot
        self._follow(np.flatnonzero(self._of_ring), self._of_ring)
        self._counts[1] = state["used"]


@njit(cache=True)
def _follow(
    changed: np.ndarray,
    ready: np.ndarray,
    slot: np.ndarray,  # int64 [M * N], written last
    last: np.ndarray,  # int64 [M * N], of the call before
    mine: np.ndarray,  # bool [M, slots of a member], out
    counts: np.ndarray,  # int64 [2, M], out
    members_of: np.ndarray,  # int64 [K], out
    places: np.ndarray,  # int64 [K], out
) -> None:
    """Update the members' views of the ring; returns the members of the changed slots, and their slots there."""
    members, slots = mine.shape
    streams = len(slot)
    own = streams // members
    for number, at in enumerate(changed):
        member, place = at % streams // own, at // streams * own + at % own
        members_of[number], places[number] = member, place
        counts[0, member] += int(ready[at]) - int(mine[member, place])
        mine[member, place] = ready[at]
    for stream in range(streams):
        member, row = stream // own, slot[stream] // streams
        if slot[stream] < last[stream]:  # it went round
            row = slots // own - 1
        counts[1, member] = max(counts[1, member], row * own + stream % own + 1)
        last[stream] = slot[stream]
