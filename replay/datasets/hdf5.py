"""Reading Minari's HDF5 files: the groups `episode_0`, `episode_1`, … of observations (T + 1), actions and rewards (T).

Dict and Tuple observations are groups in groups, the parts of a Tuple `_index_0`, `_index_1`, … Minari stores images of
32 x 32 and more as JPEG files unless `jpeg_encoding` is false.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces

from gymnast.replay.datasets import files
from gymnast.replay.layout import Layout, Leaf

BLOCK = 64 * 2**20
"""Bytes that are read at once where a file is larger than memory."""


@dataclass(frozen=True, eq=False)
class Stored:
    """Where the frames of one tensor lie."""

    leaf: Leaf
    dtype: np.dtype[Any]
    """In the file."""
    offsets: np.ndarray | None
    """The places of the episodes' first frames in the file, int64 [E]; None if frames are not stored as they are."""


@dataclass(frozen=True, eq=False)
class Contents:
    """Everything in a file but its observations."""

    path: Path
    starts: np.ndarray  # int64 [E + 1]
    actions: np.ndarray  # [S, ...]
    rewards: np.ndarray  # float32 [S]
    terminated: np.ndarray  # bool [S]
    truncated: np.ndarray  # bool [S]
    seeds: tuple[int | None, ...]
    observations: tuple[Stored, ...]

    @property
    def episodes(self) -> int:
        return len(self.starts) - 1

    @property
    def frames(self) -> int:
        """Observations of all episodes."""
        return int(self.starts[-1]) + self.episodes


class File:
    """An open HDF5 file of a data set."""

    def __init__(self, folder: Path, about: files.Metadata, layout: Layout) -> None:
        self.path, self.about, self.leaves = folder / "data" / files.DATA, about, layout.leaves
        self._h5py = files.needs("h5py")
        if not isinstance(about.action_space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
            kind = type(about.action_space).__name__
            raise ValueError(f"data set {about.name} has {kind} actions; gymnast reads Box, Discrete and MultiDiscrete")
        try:
            self._file = self._h5py.File(self.path, "r")
        except OSError as error:
            raise ValueError(f"{self.path} is damaged or not an HDF5 file: {str(error).splitlines()[0]}") from None

    def __enter__(self) -> File:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def contents(self) -> Contents:
        """Read and check everything but the observations' values; ValueError names a bad episode."""
        columns: list[tuple[np.ndarray, ...]] = []
        offsets: list[list[int | None]] = []
        dtypes: list[set[np.dtype[Any]]] = [set() for _ in self.leaves]
        seeds: list[int | None] = []
        for number, group in self._groups():
            columns.append(self._columns(number, group))
            length = len(columns[-1][1])
            sets = [self._observed(number, group, leaf, length) for leaf in self.leaves]
            for found, data, leaf in zip(dtypes, sets, self.leaves, strict=True):
                found.add(data.dtype if data.shape[1:] == leaf.shape else np.dtype(np.uint8))
            plain = [data.shape[1:] == leaf.shape for data, leaf in zip(sets, self.leaves, strict=True)]
            offsets.append([data.id.get_offset() if as_is else None for data, as_is in zip(sets, plain, strict=True)])
            seed = group.attrs.get("seed")
            seeds.append(None if seed is None else int(seed))
        lengths = [len(rewards) for _, rewards, _, _ in columns]
        if sum(lengths) != self.about.steps:
            raise ValueError(f"{self.path} holds {sum(lengths):,} steps, but its metadata say {self.about.steps:,}")
        stored = [
            Stored(leaf, np.result_type(*kinds), _whole(places) if len(kinds) == 1 else None)
            for leaf, kinds, places in zip(self.leaves, dtypes, zip(*offsets, strict=True), strict=True)
        ]
        actions, rewards, terminated, truncated = (np.concatenate(parts) for parts in zip(*columns, strict=True))
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Contents(self.path, starts, actions, rewards, terminated, truncated, tuple(seeds), tuple(stored))

    def frames(self, leaf: Leaf) -> Iterator[np.ndarray]:
        """The frames of all episodes in order, in blocks [n, ...] of the tensor's dtype; ValueError for bad values."""
        dtype = torch.empty(0, dtype=leaf.dtype).numpy().dtype
        space = _part(self.about.observation_space, leaf.path)
        count = max(BLOCK // max(leaf.nbytes, 1), 1)
        for number, group in self._groups():
            data = _follow(group["observations"], leaf, self.about.observation_space)
            for begin in range(0, len(data), count):
                block = self._read(number, data, begin, begin + count)
                if block.shape[1:] != leaf.shape:
                    block = self._decoded(number, block, leaf)
                self._check(number, "observations", block, space)
                yield block.astype(dtype, copy=False)

    def check_frames(self, leaf: Leaf) -> None:
        """Read all frames once if their values could be wrong; ValueError names the episode."""
        if leaf.dtype is torch.float32 or not isinstance(_part(self.about.observation_space, leaf.path), spaces.Box):
            for _ in self.frames(leaf):
                continue

    def _groups(self) -> Iterator[tuple[int, Any]]:
        if self.about.episodes < 1:
            raise ValueError(f"data set {self.about.name} has no episodes")
        for number in range(self.about.episodes):
            group = self._file.get(f"episode_{number}")
            if not isinstance(group, self._h5py.Group):
                raise ValueError(f"{self.path} lacks episode_{number} of {self.about.episodes:,}")
            yield number, group

    def _columns(self, number: int, group: Any) -> tuple[np.ndarray, ...]:
        """Actions, rewards, terminated and truncated of an episode."""
        for name in ("observations", "actions", "rewards", "terminations", "truncations"):
            if name not in group:
                raise ValueError(f"{self.path}: episode_{number} has no {name}")
        names = ("actions", "rewards", "terminations", "truncations")
        data = [self._dataset(number, group[name], name) for name in names]
        actions, rewards, terminated, truncated = (self._read(number, each, 0, len(each)) for each in data)
        lengths = {name: len(each) for name, each in zip(names, data, strict=True)}
        if len(set(lengths.values())) > 1 or not len(rewards):
            found = ", ".join(f"{length} {name}" for name, length in lengths.items())
            raise ValueError(f"{self.path}: episode_{number} has wrong lengths: {found}")
        self._check(number, "rewards", rewards, None)
        self._check(number, "actions", actions, self.about.action_space)
        ends = terminated.astype(bool), truncated.astype(bool)
        if (ends[0] | ends[1])[:-1].any():
            raise ValueError(f"{self.path}: episode_{number} goes on after its end")
        ends[1][-1] |= not ends[0][-1]  # an episode that was still running is cut off
        return actions, rewards.astype(np.float32), *ends

    def _dataset(self, number: int, data: Any, name: str) -> Any:
        if not isinstance(data, self._h5py.Dataset) or not data.shape:
            raise ValueError(f"{self.path}: the {name} of episode_{number} are not an array")
        return data

    def _observed(self, number: int, group: Any, leaf: Leaf, length: int) -> Any:
        """One tensor's frames in the file, with the length and shape checked."""
        name = "/".join(("observations", *leaf.path))
        try:
            data = self._dataset(number, _follow(group["observations"], leaf, self.about.observation_space), name)
        except (KeyError, AttributeError):
            raise ValueError(f"{self.path}: episode_{number} has no {name}") from None
        if len(data) != length + 1:
            raise ValueError(f"{self.path}: episode_{number} has {len(data)} {name} for {length} actions")
        encoded = data.ndim < 3 and leaf.dtype is torch.uint8 and len(leaf.shape) in (2, 3)
        if data.shape[1:] != leaf.shape and not encoded:
            shape = list(data.shape[1:])
            raise ValueError(f"{self.path}: {name} of episode_{number} are {shape}, not {list(leaf.shape)}")
        return data

    def _read(self, number: int, data: Any, begin: int, end: int) -> np.ndarray:
        try:
            read: np.ndarray = data[begin:end]
        except OSError as error:
            raise ValueError(f"{self.path}: episode_{number} is damaged: {str(error).splitlines()[0]}") from None
        return read

    def _decoded(self, number: int, block: np.ndarray, leaf: Leaf) -> np.ndarray:
        """JPEG files as images [n, H, W(, C)]."""
        from PIL import Image  # comes with matplotlib

        try:
            images = np.stack([np.asarray(Image.open(io.BytesIO(file.tobytes()))) for file in block])
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.path}: an image of episode_{number} is damaged: {error}") from None
        if images.shape[1:] != leaf.shape:
            raise ValueError(
                f"{self.path}: images of episode_{number} are {list(images.shape[1:])}, not {list(leaf.shape)}"
            )
        return images

    def _check(self, number: int, name: str, values: np.ndarray, space: gym.Space[Any] | None) -> None:
        """ValueError for numbers that are not finite, or outside a discrete space."""
        if values.dtype.kind not in "biuf":
            raise ValueError(f"{self.path}: {name} of episode_{number} are {values.dtype}, not numbers")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError(f"{self.path}: {name} of episode_{number} contain NaN or infinity")
        if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
            sizes = np.asarray(space.n if isinstance(space, spaces.Discrete) else space.nvec)
            low = np.asarray(space.start)
            if values.dtype.kind == "f" or ((values < low) | (values >= low + sizes)).any():
                raise ValueError(f"{self.path}: {name} of episode_{number} lie outside {space}")


def _follow(data: Any, leaf: Leaf, space: gym.Space[Any]) -> Any:
    """The HDF5 data set of a tensor, in the groups that its path names; KeyError without one."""
    for key in leaf.path:
        data = data[f"_index_{key}" if isinstance(space, spaces.Tuple) else key]
        space = _part(space, (key,))
    return data


def _part(space: gym.Space[Any], path: tuple[str, ...]) -> gym.Space[Any]:
    for key in path:
        assert isinstance(space, spaces.Dict | spaces.Tuple)
        space = space.spaces[key] if isinstance(space, spaces.Dict) else space.spaces[int(key)]
    return space


def _whole(places: tuple[int | None, ...]) -> np.ndarray | None:
    """Places of all episodes, or None if the place of one is not known."""
    known = [place for place in places if place is not None]
    return np.array(known, np.int64) if len(known) == len(places) else None
