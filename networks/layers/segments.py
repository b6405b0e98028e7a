"""Sequences cut where episodes begin, and put side by side so that a layer runs over many of them at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

PADDING = 60
"""Most steps of padding in a group: more cost as much as a group of its own, with its calls of the layer."""


class Group(NamedTuple):
    """S segments of up to L steps."""

    rows: int
    steps: int


class Segments:
    """The parts of sequences [B, T] between their starts, in groups of similar lengths, the longest first.

    Within a group, shorter segments are padded after their end with their last step, whose outputs are not read.
    """

    def __init__(self, start: Tensor) -> None:
        batch, time = start.shape
        begins = start.cpu().numpy().copy()
        begins[:, 0] = True
        at = begins.reshape(-1).nonzero()[0]  # first step of each, counted through all rows
        lengths = np.diff(at, append=batch * time)
        order = np.argsort(-lengths, kind="stable")
        at, lengths = at[order], lengths[order]
        self.groups: list[Group] = []
        index, place, offset, first = [], np.empty(batch * time, np.int64), 0, 0
        while first < len(lengths):
            longest = int(lengths[first])
            padding = (longest - lengths[first:]).cumsum()
            last = first + int(np.searchsorted(padding, PADDING, "right"))
            step, length = np.arange(longest), lengths[first:last, None]
            steps = at[first:last, None] + np.minimum(step, length - 1)  # [S, L]
            within = step < length
            place[steps[within]] = offset + within.reshape(-1).nonzero()[0]
            index.append(steps.reshape(-1))
            self.groups.append(Group(last - first, longest))
            offset, first = offset + steps.size, last
        device = start.device
        self._index, self._place = (torch.from_numpy(part).to(device) for part in (np.concatenate(index), place))
        # A segment at the beginning of a row goes on with the row's memory, all others begin with an empty one.
        row = np.where((at % time == 0) & ~start[:, 0].cpu().numpy()[at // time], at // time, batch)
        self._row = torch.from_numpy(row).to(device)

    def split(self, features: Tensor) -> list[Tensor]:
        """[B, T, F] to [S, L, F] of each group."""
        rows = features.flatten(0, 1).index_select(0, self._index)
        parts = torch.split(rows, [group.rows * group.steps for group in self.groups])
        return [part.view(*group, -1) for part, group in zip(parts, self.groups, strict=True)]

    def memories(self, memory: Tensor) -> list[Tensor]:
        """The memory of each row, [B, M], to those before the segments of each group, [S, M]."""
        padded = torch.cat([memory, memory.new_zeros(1, memory.shape[1])])
        return list(torch.split(padded.index_select(0, self._row), [group.rows for group in self.groups]))

    def join(self, outputs: list[Tensor], steps: int) -> Tensor:
        """Outputs [S, L, H] of each group to [B, T, H]."""
        rows = torch.cat([part.flatten(0, 1) for part in outputs]).index_select(0, self._place)
        return rows.view(-1, steps, rows.shape[1])
