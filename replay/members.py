"""One ring for many agents: M * N streams, N of each member in turn, of which a member samples only its own.

A member's slots, in their order, are those of a ring of its own: slot j is in row j // N, column j % N, and the ring of
all members has that row with M * N columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from torch import Tensor

from gymnast.replay.ring import Ring
from gymnast.replay.samplers import Uniform


class MemberUniform:
    """`Uniform` for each member, with its own generator: what it would draw from a ring of its own.

    `watch` gives it the ring that it samples from, of which every step writes every stream.
    """

    slot_bytes = 1

    def __init__(self, rngs: Sequence[np.random.Generator]) -> None:
        self.samplers = [Uniform(rng) for rng in rngs]

    def allocate(self, slots: int) -> None:
        members = len(self.samplers)
        self._ready = np.zeros((members, slots // members), np.bool_)
        self._counts = np.zeros((2, members), np.int64)  # of each member: slots that are ready, slots ever written

    def watch(self, ring: Ring) -> None:
        """The ring whose `slot` says how far each stream has been written."""
        self._slot, self._last = ring.slot, np.full_like(ring.slot, -1)
        self._of_ring = ring.ready

    def anneal(self, env_step: int) -> None:
        """Nothing: no schedule."""

    def changed(self, slots: np.ndarray, ready: np.ndarray) -> None:
        _follow(slots, ready, self._slot, self._last, self._ready, self._counts)

    def sample(self, ready: np.ndarray, count: int, index: np.ndarray, weight: np.ndarray) -> None:
        """Fill `index`, int64 [M * B], member by member; ValueError if a member has no ready slot."""
        members = len(self.samplers)
        own, streams = index.reshape(members, -1), len(self._slot) // members
        for member, (sampler, chosen, (count, used)) in enumerate(
            zip(self.samplers, own, self._counts.T.tolist(), strict=True)
        ):
            if count == 0:
                raise ValueError(f"nothing to sample: no transition of member {member} is complete yet")
            sampler.sample(self._ready[member, :used], count, chosen, weight[: len(chosen)])
        rows, columns = np.divmod(own, streams)
        columns += np.arange(members)[:, None] * streams
        np.add(rows * len(self._slot), columns, out=own)
        weight[:] = 1.0

    def update(self, index: Tensor, error: Tensor) -> None:
        """Nothing: errors do not change uniform samples."""

    def state_dict(self) -> dict[str, Any]:
        return {"members": [sampler.state_dict() for sampler in self.samplers], "used": self._counts[1].tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for sampler, kept in zip(self.samplers, state["members"], strict=True):
            sampler.load_state_dict(kept)
        self._ready[:], self._counts[:] = False, 0
        self._last[:] = self._slot
        _follow(np.flatnonzero(self._of_ring), self._of_ring, self._slot, self._last, self._ready, self._counts)
        self._counts[1] = state["used"]


@njit(cache=True)
def _follow(
    changed: np.ndarray,
    ready: np.ndarray,
    slot: np.ndarray,  # int64 [M * N], written last
    last: np.ndarray,  # int64 [M * N], of the call before
    mine: np.ndarray,  # bool [M, slots of a member], out
    counts: np.ndarray,  # int64 [2, M], out
) -> None:
    """Bring a member's view of the ring up to date."""
    members, slots = mine.shape
    streams = len(slot)
    own = streams // members
    for at in changed:
        member, place = at % streams // own, at // streams * own + at % own
        counts[0, member] += int(ready[at]) - int(mine[member, place])
        mine[member, place] = ready[at]
    for stream in range(streams):
        member, row = stream // own, slot[stream] // streams
        if slot[stream] < last[stream]:  # it went round
            row = slots // own - 1
        counts[1, member] = max(counts[1, member], row * own + stream % own + 1)
        last[stream] = slot[stream]
