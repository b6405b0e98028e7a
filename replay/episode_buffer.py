"""Whole episodes: the steps of each row are kept until its episode ends, then returned together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gymnast.replay.rollout import Fields, flat_fields, nested_fields

CHUNK = 256
"""Initial capacity, in steps, of a row and of all finished episodes; it doubles when more are needed."""


class EpisodeBuffer:
    """Steps of N rows, separate until their episode ends; then they follow those of the episodes that ended earlier.

    Every step whose action counted is handed out once, with all others of its episode. A field that is None in the
    first step of all is not kept. Episodes that never end are never handed out, and their buffers grow.
    """

    def __init__(self, num_envs: int, *, device: torch.device, chunk: int = CHUNK) -> None:
        self.num_envs, self.device, self.chunk = num_envs, device, chunk
        self.lengths: list[int] = []
        """Steps of each finished episode, in the order in which they ended."""
        self._position = torch.zeros(num_envs, dtype=torch.int64, device=device)  # steps of each row's own episode
        self._first = torch.arange(num_envs, device=device)  # of each row, in the flat buffers
        self._capacity = 0
        self._longest = 0  # no row has more steps than this
        self._waiting: dict[str, Tensor] = {}  # [N * capacity, ...]
        self._finished: dict[str, Tensor] = {}  # [F, ...]

    @property
    def steps(self) -> int:
        """Steps of all finished episodes."""
        return sum(self.lengths)

    @torch.no_grad()
    def add(self, *, ended: Tensor, num_ended: int | None, active: Tensor | None = None, **values: Any) -> None:
        """One step: values [N, ...] (None is left out), which rows ended, and which count, bool [N].

        The host reads nothing unless an episode ended (`num_ended` None: unknown).
        """
        flat = dict(flat_fields(values))
        if not self._waiting:
            self._allocate(flat)
        if self._longest == self._capacity:
            self._make_room()
        index = self._first + self._position
        for name, value in flat.items():
            self._waiting[name].index_copy_(0, index, value)
        self._position += 1 if active is None else active  # the next step overwrites rows that do not count
        self._longest += 1
        if num_ended != 0:
            for row in (ended if active is None else ended & active).nonzero().flatten().tolist():
                self._finish(row)

    def take(self) -> tuple[Fields, list[int]]:
        """The steps of all finished episodes, each field [F, ...], and the length of each; then removes them.

        The fields are views of buffers that are written again after the next step.
        """
        lengths, steps = self.lengths, self.steps
        self.lengths = []
        return nested_fields({name: buffer[:steps] for name, buffer in self._finished.items()}), lengths

    def drop(self, rows: Sequence[int]) -> None:
        """Forget the steps of these rows' episodes in progress."""
        self._position[list(rows)] = 0

    def clear(self) -> None:
        """Clear it, keeping the memory."""
        self.lengths, self._longest = [], 0
        self._position.zero_()

    def _finish(self, row: int) -> None:
        length, before = int(self._position[row]), self.steps
        first, after = row * self._capacity, before + length
        for name, buffer in self._waiting.items():
            if after > len(self._finished[name]):
                self._finished[name] = _larger(self._finished[name], 2 * after, before)
            self._finished[name][before:after] = buffer[first : first + length]
        self.lengths.append(length)
        self._position[row] = 0

    def _allocate(self, flat: dict[str, Tensor], capacity: int | None = None) -> None:
        """Room for rows like these values [N, ...]."""
        self._capacity = capacity or self.chunk
        self._first = torch.arange(self.num_envs, device=self.device) * self._capacity
        shapes = {name: value.shape[1:] for name, value in flat.items()}
        self._waiting = {
            name: value.new_zeros((self.num_envs * self._capacity, *shapes[name])) for name, value in flat.items()
        }
        self._finished = {name: value.new_zeros((self.chunk, *shapes[name])) for name, value in flat.items()}

    def _make_room(self) -> None:
        """Double the room if a row has filled its own."""
        self._longest = int(self._position.max())
        if self._longest < self._capacity:
            return
        shape = (self.num_envs, self._capacity)
        for name, buffer in self._waiting.items():
            old = buffer.view(*shape, *buffer.shape[1:])
            self._waiting[name] = torch.cat([old, torch.zeros_like(old)], 1).flatten(0, 1)
        self._capacity *= 2
        self._first = torch.arange(self.num_envs, device=self.device) * self._capacity

    def state_dict(self) -> dict[str, Any]:
        """The steps of unfinished and of finished episodes."""
        longest, steps = int(self._position.max()), self.steps
        rows = {name: buffer.view(self.num_envs, -1, *buffer.shape[1:]) for name, buffer in self._waiting.items()}
        return {
            "position": self._position.clone(),
            "lengths": list(self.lengths),
            "waiting": {name: buffer[:, :longest].clone() for name, buffer in rows.items()},
            "finished": {name: buffer[:steps].clone() for name, buffer in self._finished.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; ValueError if it has another number of rows."""
        if len(state["position"]) != self.num_envs:
            raise ValueError(f"the checkpoint has episodes of {len(state['position'])} rows, not {self.num_envs}")
        self.clear()
        self._position.copy_(state["position"])
        self.lengths = list(state["lengths"])
        self._longest = longest = int(self._position.max())
        if not state["waiting"]:
            return
        capacity = self.chunk
        while capacity < longest:
            capacity *= 2
        self._allocate({name: part.to(self.device) for name, part in state["finished"].items()}, capacity)
        for name, part in state["waiting"].items():
            buffer = self._waiting[name]
            buffer.view(self.num_envs, capacity, *buffer.shape[1:])[:, :longest] = part.to(self.device)
            finished = state["finished"][name].to(self.device)
            self._finished[name] = _larger(finished, max(self.chunk, len(finished)), len(finished))


def _larger(buffer: Tensor, size: int, filled: int) -> Tensor:
    """A buffer of the given number of steps that starts with the filled ones of another."""
    larger = buffer.new_zeros((size, *buffer.shape[1:]))
    larger[:filled] = buffer[:filled]
    return larger
