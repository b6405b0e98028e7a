"""Writing recorded episodes as a Minari data set, one episode at a time, with bounded memory."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.replay.datasets import files
from gymnast.replay.layout import Layout, Obs

HELD = 64 * 2**20
"""Bytes of the episodes in progress that are held in memory, of each kind of value; longer ones go to a file."""
NAMESPACE = "namespace_metadata.json"


class DatasetWriter:
    """Streams the episodes of N rows to disk as a Minari 0.5 data set (HDF5).

    Frames are stored once and as they are: contiguous, without compression, so that they can be read in place. With
    `frame_stack` K, observations are stacks [K, ...] with the newest frame last; only that one is stored, the space in
    the metadata is a frame's, and `gymnast_frame_stack` and `gymnast_frame_fill` say how to build the stacks again.

    Everything is written under a hidden name beside the final one. `finish` gives the data set its name; leaving the
    context without it deletes what was written.

    Raises:
        ValueError: a name that Minari does not accept or that exists, a space that cannot be stored, or Minari is
            missing.
    """

    episodes = steps = 0
    """Written so far; episodes in progress are not counted."""
    nbytes = 0
    """Size of the finished file."""
    frame_space: gym.Space[Any]
    """Of one stored frame."""

    def __init__(
        self,
        name: str,
        *,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        num_envs: int,
        frame_stack: int = 1,
        root: str | Path | None = None,
    ) -> None:
        self._h5py = files.needs("h5py")
        self.name, self.folder = name, check_new(name, root)
        self.layout = Layout(observation_space, stack=frame_stack)
        self.frame_space = _frame_space(observation_space, frame_stack)
        self._about = _described(self.frame_space, action_space)
        self._places = [_place(leaf.path, observation_space) for leaf in self.layout.leaves]
        self._fill: str | None = None
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._new = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}-", dir=self.folder.parent))
        (self._new / "data").mkdir()
        self._file = self._h5py.File(self._new / "data" / files.DATA, "w", libver=("v110", "v110"))
        shape, dtype = action_space.shape or (), action_space.dtype
        kinds = [(leaf.shape, torch.empty(0, dtype=leaf.dtype).numpy().dtype) for leaf in self.layout.leaves]
        self._frames = [_Column(num_envs, shape, dtype, self._new) for shape, dtype in kinds]
        self._actions = _Column(num_envs, shape, np.dtype(dtype), self._new)
        self._rewards = _Column(num_envs, (), np.dtype(np.float32), self._new)
        self._ends = [_Column(num_envs, (), np.dtype(np.bool_), self._new) for _ in range(2)]
        self._seeds: list[int | None] = [None] * num_envs

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file:
            self._file.close()
        for column in (*self._frames, self._actions, self._rewards, *self._ends):
            column.close()
        if self._new.exists():
            shutil.rmtree(self._new)

    def add(
        self,
        obs: Obs,
        action: Tensor,
        *,
        reward: Tensor,
        terminated: Tensor,
        truncated: Tensor,
        next_obs: Obs,
        rows: Tensor,
        seeds: Sequence[int | None],
    ) -> None:
        """Add one transition of each of the rows `rows`, int64 [n], and write the episodes that end with it.

        All tensors are [N, ...] on the CPU; `seeds` are those of the rows' episodes, None where unknown.

        Raises:
            ValueError: observations are not stacks of `frame_stack` frames.
        """
        index = rows.numpy()
        fresh = index[self._rewards.count[index] == 0]
        before, after = self.layout.split(obs), self.layout.split(next_obs)
        if self.layout.stack > 1:
            self._check_stack(before[0], after[0], rows, fresh)
        for column, old, new in zip(self._frames, before, after, strict=True):
            column.append(fresh, self._newest(old, fresh))
            column.append(index, self._newest(new, index))
        for row in fresh.tolist():
            self._seeds[row] = seeds[row]
        self._actions.append(index, action.numpy()[index])
        self._rewards.append(index, reward.numpy()[index])
        for column, end in zip(self._ends, (terminated, truncated), strict=True):
            column.append(index, end.numpy()[index])
        for row in index[(terminated | truncated).numpy()[index]].tolist():
            self._write(row)

    def cut(self, row: int) -> bool:
        """Write a row's episode in progress, truncated where it is; False if it has no transition."""
        if self._rewards.count[row] == 0:
            return False
        self._ends[1].amend(row, True)
        self._write(row)
        return True

    def finish(self, about: dict[str, Any]) -> None:
        """Give the data set its name; `about` are further metadata (values that JSON has).

        Raises:
            ValueError: nothing was written, or the name exists by now.
        """
        if self.episodes == 0:
            raise ValueError(f"data set {self.name} has no episodes")
        self._file.close()
        self.nbytes = (self._new / "data" / files.DATA).stat().st_size
        stack = self.layout.stack
        stacks = {files.FRAME_STACK: stack, files.FRAME_FILL: self._fill or files.FILLS[0]} if stack > 1 else {}
        counts = {
            "total_episodes": self.episodes,
            "total_steps": self.steps,
            "dataset_size": round(self.nbytes / 1e6, 1),
        }
        named = {"dataset_id": self.name, "minari_version": version("minari")}
        text = json.dumps({**counts, **self._about, **named, **stacks, **about}, indent=2)
        (self._new / "data" / files.METADATA).write_text(text, encoding="utf-8", newline="\n")
        self._new.chmod(0o755)  # a temporary folder belongs to its user alone
        try:
            os.rename(self._new, self.folder)
        except OSError:
            raise ValueError(f"dataset {self.name} exists already: {self.folder}") from None
        top = self.folder
        for _ in range(self.name.count("/")):
            top = top.parent
            if not (top / NAMESPACE).exists():
                (top / NAMESPACE).write_text("{}", encoding="utf-8", newline="\n")

    def _newest(self, part: Tensor, rows: np.ndarray) -> np.ndarray:
        """The frames to store, [n, ...]."""
        array = part.numpy()
        chosen: np.ndarray = array[rows, -1] if self.layout.stack > 1 else array[rows]
        return chosen

    def _check_stack(self, before: Tensor, after: Tensor, rows: Tensor, fresh: np.ndarray) -> None:
        """ValueError if stacks cannot be built again from their newest frames."""
        self.layout.check_stack(before[rows], after[rows], None)
        for row in fresh.tolist():
            old, newest = before[row, :-1], before[row, -1]
            zero, first = not bool(old.any()), bool((old == newest).all())
            if zero and first:
                continue  # it fits both
            found = "zero" if zero else "first" if first else None
            self._fill = self._fill or found
            if found is None or found != self._fill:
                raise ValueError(
                    f"stacks at the start of an episode hold frames from before it: set frame_stack 1 to record "
                    f"observations {list(before.shape[1:])} as they are"
                )

    def _write(self, row: int) -> None:
        """Write a row's episode as the next one."""
        group = self._file.create_group(f"episode_{self.episodes}")
        length = int(self._rewards.count[row])
        group.attrs["id"], group.attrs["total_steps"] = self.episodes, length
        if self._seeds[row] is not None:
            group.attrs["seed"] = self._seeds[row]
        group.create_group("infos")
        for column, place in zip(self._frames, self._places, strict=True):
            column.write(row, group, place)
        names = ("actions", "rewards", "terminations", "truncations")
        for column, name in zip((self._actions, self._rewards, *self._ends), names, strict=True):
            column.write(row, group, name)
        self.episodes, self.steps = self.episodes + 1, self.steps + length


class _Column:
    """One kind of value of the episodes in progress, by row; what memory does not hold is in a file for each row."""

    def __init__(self, rows: int, shape: tuple[int, ...], dtype: np.dtype[Any], folder: Path) -> None:
        self.count = np.zeros(rows, np.int64)  # values of each row's episode
        self._size = max(min(HELD // (rows * int(np.prod(shape, dtype=np.int64)) * dtype.itemsize), 1024), 1)
        self._held = np.empty((rows, self._size, *shape), dtype)
        self._spilled: dict[int, IO[bytes]] = {}
        self._folder = folder

    def append(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Append one value [n, ...] to each of the rows [n]."""
        count = self.count[rows]
        place = count % self._size
        for row in rows[(place == 0) & (count > 0)].tolist():
            if row not in self._spilled:
                self._spilled[row] = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - open for many steps
            self._spilled[row].write(self._held[row].data)
        self._held[rows, place] = values
        self.count[rows] += 1

    def amend(self, row: int, value: Any) -> None:
        """Replace the last value of a row."""
        self._held[row, (self.count[row] - 1) % self._size] = value

    def write(self, row: int, group: Any, name: str) -> None:
        """Write all values of a row's episode as one contiguous HDF5 data set, and begin the next episode."""
        count = int(self.count[row])
        data = group.create_dataset(name, shape=(count, *self._held.shape[2:]), dtype=self._held.dtype)
        place = 0
        for block in self._blocks(row, count):
            data[place : place + len(block)] = block
            place += len(block)
        self.count[row] = 0

    def close(self) -> None:
        for file in self._spilled.values():
            file.close()
        self._spilled.clear()

    def _blocks(self, row: int, count: int) -> Iterator[np.ndarray]:
        full = (count - 1) // self._size  # blocks in the file
        if full:
            file = self._spilled[row]
            file.seek(0)
            for _ in range(full):
                yield np.frombuffer(file.read(self._held[row].nbytes), self._held.dtype).reshape(self._held.shape[1:])
            file.seek(0)
        yield self._held[row, : count - full * self._size]


def _place(path: tuple[str, ...], space: gym.Space[Any]) -> str:
    """Where a part of the observations lies in an episode's group."""
    place = "observations"
    for key in path:
        if isinstance(space, spaces.Tuple):
            place, space = f"{place}/_index_{key}", space.spaces[int(key)]
        else:
            assert isinstance(space, spaces.Dict)
            place, space = f"{place}/{key}", space.spaces[key]
    return place


def check_new(name: str, root: str | Path | None = None) -> Path:
    """The folder that a new data set of this name would have; ValueError if the name is wrong or taken."""
    files.check_name(name)
    folder = (files.datasets_root() if root is None else Path(root)) / name
    if folder.exists():
        raise ValueError(f"dataset {name} exists already: {folder}")
    return folder


def _frame_space(space: gym.Space[Any], stack: int) -> gym.Space[Any]:
    if stack == 1:
        return space
    assert isinstance(space, spaces.Box)
    return spaces.Box(space.low[-1], space.high[-1], dtype=space.dtype)


def _described(frame_space: gym.Space[Any], action_space: gym.Space[Any]) -> dict[str, Any]:
    """The metadata that Minari needs."""
    serialize = files.needs("minari.serialization").serialize_space
    if not isinstance(action_space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        raise ValueError(f"{type(action_space).__name__} actions cannot be recorded; use Box, Discrete, MultiDiscrete")
    return {
        "data_format": "hdf5",
        "jpeg_encoding": False,
        "observation_space": serialize(frame_space),
        "action_space": serialize(action_space),
    }
