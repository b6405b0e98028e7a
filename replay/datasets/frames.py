"""Observations of all episodes: in memory, or in a file that is read through the system's page cache.

Frames are numbered over all episodes: an episode of T transitions has T + 1 of them. A stack of K is the last K frames
of an episode, the newest last. Files are read, not mapped, because mapped pages would count as resident memory of the
process.
"""

from __future__ import annotations

import math
import os
import weakref
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

Fill = str
"""What a stack shows before an episode: `zero` (black) or `first` (the first frame again)."""


class Frames(Protocol):
    """One tensor of the observations."""

    def stacks(self, frame: np.ndarray, available: np.ndarray, out: Tensor) -> None:
        """Write the stacks that end with the frames `frame`, int64 [B], to `out` [B, K, ...].

        `available`, int64 [B] of 1 to K, is how many frames of each stack lie within its episode.
        """


class Resident:
    """Frames in memory, [F, ...]."""

    def __init__(self, frames: Tensor, *, fill: Fill) -> None:
        self._frames, self._fill = frames, fill

    def stacks(self, frame: np.ndarray, available: np.ndarray, out: Tensor) -> None:
        count = out.shape[1]
        if count == 1:
            torch.index_select(self._frames, 0, torch.from_numpy(frame), out=out[:, 0])
            return
        back = np.arange(count - 1, -1, -1)  # of each place in a stack, how many frames before the newest
        inside = np.minimum(back, available[:, None] - 1)  # [B, K]
        index = torch.from_numpy((frame[:, None] - inside).reshape(-1))
        torch.index_select(self._frames, 0, index, out=out.view(-1, *out.shape[2:]))
        if self._fill == "zero":
            out[torch.from_numpy(back >= available[:, None])] = 0


class OnDisk:
    """Frames of one dtype in a file, those of each episode next to each other.

    `starts` int64 [E] numbers the first frame of each episode, `offsets` int64 [E] is its place in the file in bytes.
    """

    def __init__(
        self,
        path: Path,
        *,
        starts: np.ndarray,
        offsets: np.ndarray,
        shape: tuple[int, ...],
        dtype: np.dtype[np.generic],
        fill: Fill,
    ) -> None:
        self.path = path
        self._starts, self._offsets, self._fill = starts, offsets, fill
        self._shape, self._dtype = shape, dtype
        self._bytes = math.prod(shape) * dtype.itemsize
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def stacks(self, frame: np.ndarray, available: np.ndarray, out: Tensor) -> None:
        target = out.numpy()
        if target.dtype == self._dtype and target.flags.c_contiguous:
            self._read(frame, available, target)
            return
        raw = np.empty(target.shape, self._dtype)
        self._read(frame, available, raw)
        target[...] = raw

    def _read(self, frame: np.ndarray, available: np.ndarray, target: np.ndarray) -> None:
        """One read for each stack: its frames are neighbours in the file."""
        size, stack = self._bytes, target.shape[1] * self._bytes
        episode = np.searchsorted(self._starts, frame, side="right") - 1
        first = frame - (available - 1)
        places = self._offsets[episode] + (first - self._starts[episode]) * size
        ends = stack * np.arange(1, len(frame) + 1)
        begins = ends - available * size
        memory, file, read = target.reshape(-1).view(np.uint8).data, self._file, os.preadv
        for place, begin, end in zip(places.tolist(), begins.tolist(), ends.tolist(), strict=True):
            if read(file, [memory[begin:end]], place) != end - begin:
                raise ValueError(f"{self.path} ended early: it was changed or cut off")
        count = target.shape[1]
        for row in np.flatnonzero(available < count).tolist():
            missing = count - int(available[row])
            target[row, :missing] = 0 if self._fill == "zero" else target[row, missing]
