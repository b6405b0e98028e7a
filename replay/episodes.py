"""Which slots of a ring belong to one episode, without a search: for replays that read more of it than one window."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gymnast.replay.allocation import check_fits


class Span(NamedTuple):
    """The stored part of the episodes that B slots belong to, in rows: a stream's slots counted on beyond its end."""

    here: Tensor
    """int64 [B], of the slots themselves."""
    first: Tensor
    """int64 [B], of the earliest observation that is still stored."""
    last: Tensor
    """int64 [B], of the latest: the final one, or the newest of an episode in progress."""


class Episodes:
    """The episodes in a ring of S slots in N streams with single frames, updated after every step by fixed shapes.

    An episode has a number, which repeats only once all of its slots have been overwritten, and a slot has that of its
    episode; first and last row are kept by number.

    Raises:
        ValueError: if it needs more memory than is free.
    """

    slot_bytes = 4 + 8
    """Memory of one slot: its number, and its share of the two tables, because an episode takes two slots at least."""

    def __init__(self, slots: int, num_envs: int, device: torch.device) -> None:
        check_fits(slots * self.slot_bytes, device, replay_size=slots)
        self.slots, self.num_envs, self.rows = slots, num_envs, slots // num_envs
        self._numbers = self.rows // 2 + 1
        self.stream = torch.arange(num_envs, device=device)
        self.newest = self.stream + slots - num_envs  # int64 [N], the slots written last
        self.row = torch.full_like(self.stream, -1)  # int64 [N], their rows
        self.number = torch.full_like(self.stream, -1)  # int64 [N], of the streams' current episodes
        self.of_slot = torch.zeros(slots, dtype=torch.int32, device=device)
        self._first = torch.zeros(self._numbers * num_envs, dtype=torch.int64, device=device)
        self._last = torch.zeros_like(self._first)

    def follow(self, newest: Tensor) -> None:
        """Note a step, after which `newest`, int64 [N], are the slots written last.

        One that begins an episode has written two, one in its middle one, and one that was not stored none.
        """
        moved = (newest - self.newest) % self.slots // self.num_envs
        begun = moved == 2
        self.newest = newest.clone()  # a ring on the CPU overwrites its own
        self.row = self.row + moved
        self.number = torch.where(begun, (self.number + 1) % self._numbers, self.number)
        episode = self.number.clamp(min=0) * self.num_envs + self.stream
        before = torch.where(begun, newest - self.num_envs, newest) % self.slots
        for slot in (before, newest):
            self.of_slot[slot] = episode.int()
        self._first[episode] = torch.where(begun, self.row - 1, self._first[episode])
        self._last[episode] = self.row

    def span(self, slot: Tensor) -> Span:
        """The episodes of slots int64 [B]."""
        stream, episode = slot % self.num_envs, self.of_slot[slot].long()
        newest = self.row[stream]
        here = newest - (self.newest[stream] - slot) % self.slots // self.num_envs
        return Span(here, torch.maximum(self._first[episode], newest - self.rows + 1), self._last[episode])

    def slots_of(self, row: Tensor, stream: Tensor) -> Tensor:
        """The slots of rows, int64 [B], of streams, int64 [B]."""
        return (self.newest[stream] - (self.row[stream] - row) * self.num_envs) % self.slots

    def state_dict(self, used: int) -> dict[str, Any]:
        """Everything about the slots below `used`; the tensors may share memory."""
        return {"of_slot": self.of_slot[:used], "row": self.row, "number": self.number, "newest": self.newest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state of as many slots and streams."""
        used = len(state["of_slot"])
        self.of_slot.zero_()[:used].copy_(state["of_slot"])
        for name in ("row", "number", "newest"):
            setattr(self, name, state[name].to(self.of_slot.device, copy=True))
        slot = torch.arange(used, device=self.of_slot.device)
        row, episode = self.span(slot).here, self.of_slot[:used].long()
        written = row >= 0
        row, episode = row[written], episode[written]
        self._first.fill_(torch.iinfo(torch.int64).max).scatter_reduce_(0, episode, row, "amin")
        self._last.fill_(-1).scatter_reduce_(0, episode, row, "amax")
