"""Recorded episodes: transitions by number, read from a Minari data set."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.replay.datasets import files
from gymnast.replay.datasets.files import local_datasets
from gymnast.replay.datasets.frames import Frames, OnDisk, Resident
from gymnast.replay.datasets.hdf5 import Contents, File, Stored
from gymnast.replay.layout import Layout, Leaf, Obs

__all__ = ["DatasetWarning", "EpisodeData", "local_datasets", "read_dataset"]

IN_MEMORY = 512 * 2**20
"""Bytes of observations that are held in memory; more are read from the file."""
COPY = "gymnast_frames"
"""Folder beside a data set's `data` with its frames as plain arrays, for files that cannot be read in place."""


class DatasetWarning(UserWarning):
    """What a user should know about a data set that can be read."""


class EpisodeData:
    """Recorded episodes; transitions are numbered in the order of the episodes, 0 <= i < len(self)."""

    name: str
    env: str | None
    """Id of the environment, None if the data set names none."""
    observation_space: gym.Space[Any]
    """As an agent sees it: of a stack, if frames are stacked."""
    action_space: gym.Space[Any]
    frame_stack: int
    starts: Tensor
    """First transition of each episode, and the total, int64 [E + 1]."""
    episode: Tensor
    """Episode of each transition, int64 [S]."""
    rewards: Tensor
    """float32 [S]."""
    terminated: Tensor
    """bool [S]."""
    truncated: Tensor
    """bool [S]; an episode whose recording stopped is truncated."""
    seeds: tuple[int | None, ...]
    """Seed of each episode's reset, where it is known."""
    about: dict[str, Any]
    """The data set's metadata."""

    def __init__(self, about: files.Metadata, contents: Contents, layout: Layout, frames: Sequence[Frames]) -> None:
        self.name, self.env, self.about, self.frame_stack = about.name, about.env, about.about, about.frame_stack
        self.observation_space, self.action_space = stacked(about), about.action_space
        self.starts = torch.from_numpy(contents.starts)
        lengths = self.starts.diff()
        self.episode = torch.arange(len(lengths)).repeat_interleave(lengths)
        self.rewards = torch.from_numpy(contents.rewards)
        self.terminated, self.truncated = torch.from_numpy(contents.terminated), torch.from_numpy(contents.truncated)
        self.seeds = contents.seeds
        dtype = np.float32 if contents.actions.dtype.kind == "f" else np.int64
        self._actions = torch.from_numpy(contents.actions.astype(dtype, copy=False))
        self._layout, self._frames = layout, frames

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def episodes(self) -> int:
        return len(self.starts) - 1

    def observations(self, index: Tensor, *, out: Obs | None = None) -> Obs:
        """What the policy saw before the transitions `index`, int64 [B]: tensors [B, ...], a dict for Dict spaces.

        With `out`, an earlier result of the same batch size, its memory is used again.
        """
        return self._gathered(index, 0, out)

    def next_observations(self, index: Tensor, *, out: Obs | None = None) -> Obs:
        """The true successors of the transitions `index`: the final observation at the end of an episode."""
        return self._gathered(index, 1, out)

    def actions(self, index: Tensor) -> Tensor:
        """Actions [B, ...] in the action space: float32 for Box, else int64 (the space's own numbers)."""
        return self._actions[index]

    def returns(self, gamma: float) -> Tensor:
        """Discounted sums of the rewards from each transition to the end of its recorded episode, float32 [S]."""
        result = self.rewards.double().numpy().copy()
        lengths = self.starts.diff().numpy()
        order = np.argsort(-lengths, kind="stable")
        last = self.starts[1:].numpy()[order] - 1
        for back in range(1, int(lengths.max())):  # all episodes at once, from their ends
            last = last[: int((lengths > back).sum())]
            result[last - back] += gamma * result[last - back + 1]
        return torch.from_numpy(result).float()

    def _gathered(self, index: Tensor, ahead: int, out: Obs | None) -> Obs:
        episode = self.episode[index]
        time = index - self.starts[episode] + ahead
        frame = (index + episode + ahead).numpy()  # each earlier episode has one frame more than transitions
        available = (time + 1).clamp(max=self.frame_stack).numpy()
        parts = [] if out is None else self._layout.split(out)
        results = []
        for number, (leaf, frames) in enumerate(zip(self._layout.leaves, self._frames, strict=True)):
            shape = (len(index), *self._stacked(leaf))
            part = parts[number] if parts else torch.empty(shape, dtype=leaf.dtype)
            frames.stacks(frame, available, part.view(len(index), self.frame_stack, *leaf.shape))
            results.append(part)
        return self._layout.join(results)

    def _stacked(self, leaf: Leaf) -> tuple[int, ...]:
        return (self.frame_stack, *leaf.shape) if self.frame_stack > 1 else leaf.shape


def read_dataset(name: str, *, root: str | Path | None = None) -> EpisodeData:
    """Read a Minari data set by its name in Minari's folder (or in `root`), or by its path.

    Observations of more than 512 MB stay on disk and are read as they are needed. A file that gymnast recorded is read
    in place; frames that Minari stored in chunks or as JPEG are first copied beside it, once, which a `DatasetWarning`
    reports.

    Raises:
        ValueError: it does not exist, is damaged (the message names the file and the episode), contains NaN, or is of
            a format or version that gymnast does not read; or Minari is missing.
    """
    folder = files.find(name, root)
    about = files.read_metadata(folder)
    layout = Layout(stacked(about), stack=about.frame_stack)
    with File(folder, about, layout) as file:
        contents = file.contents()
        size = contents.frames * layout.frame_bytes
        if size <= IN_MEMORY:
            frames: list[Frames] = [_resident(file, contents, leaf, about.frame_fill) for leaf in layout.leaves]
        else:
            frames = [_on_disk(file, contents, stored, folder, about.frame_fill) for stored in contents.observations]
    return EpisodeData(about, contents, layout, frames)


def stacked(about: files.Metadata) -> gym.Space[Any]:
    """The observation space as an agent sees it."""
    space = about.observation_space
    if about.frame_stack == 1:
        return space
    if not isinstance(space, spaces.Box):
        raise ValueError(f"data set {about.name} has {files.FRAME_STACK} {about.frame_stack}, but observations {space}")
    low, high = (np.stack([bound] * about.frame_stack) for bound in (space.low, space.high))
    return spaces.Box(low, high, dtype=space.dtype)


def _resident(file: File, contents: Contents, leaf: Leaf, fill: str) -> Resident:
    memory = torch.empty((contents.frames, *leaf.shape), dtype=leaf.dtype)
    place = 0
    for block in file.frames(leaf):
        memory[place : place + len(block)] = torch.from_numpy(block)
        place += len(block)
    return Resident(memory, fill=fill)


def _on_disk(file: File, contents: Contents, stored: Stored, folder: Path, fill: str) -> OnDisk:
    """Frames in the file itself, or in a copy of them if they are not stored as they are."""
    starts = contents.starts[:-1] + np.arange(contents.episodes)
    leaf = stored.leaf
    if stored.offsets is not None:
        file.check_frames(leaf)
        return OnDisk(file.path, starts=starts, offsets=stored.offsets, shape=leaf.shape, dtype=stored.dtype, fill=fill)
    dtype = torch.empty(0, dtype=leaf.dtype).numpy().dtype
    path = _copied(file, contents, leaf, folder)
    return OnDisk(path, starts=starts, offsets=starts * leaf.nbytes, shape=leaf.shape, dtype=dtype, fill=fill)


def _copied(file: File, contents: Contents, leaf: Leaf, folder: Path) -> Path:
    """The copy of a tensor's frames, made if there is none of this very file."""
    state = file.path.stat()
    size = contents.frames * leaf.nbytes
    target = folder / COPY / f"{'-'.join(leaf.path) or 'observations'}-{state.st_size}-{state.st_mtime_ns}.bin"
    if target.is_file() and target.stat().st_size == size:
        return target
    shown = f"data set {file.about.name} stores frames compressed or in pieces"
    try:
        target.parent.mkdir(exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if size > free:
            raise ValueError(f"{shown}: a copy needs {size / 1e9:.1f} GB of {folder}, but {free / 1e9:.1f} GB are free")
        warnings.warn(f"{shown}: copying {size / 1e9:.1f} GB to {target}, once", DatasetWarning, stacklevel=4)
        handle, new = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as out:
                for block in file.frames(leaf):
                    out.write(np.ascontiguousarray(block).data)
            os.replace(new, target)
        finally:
            Path(new).unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(f"{shown}, and a copy cannot be written to {target.parent}: {error.strerror}") from None
    return target
