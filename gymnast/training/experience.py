"""Experience on its way from an actor's process to the learner: some steps of the actor's rows, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Acted
from gymnast.envs.step import Obs, Step, map_obs

Arrays: TypeAlias = "np.ndarray | dict[str, Arrays]"
"""An `Obs` as NumPy arrays."""
ALWAYS = ("reward", "terminated", "truncated", "start")
SOMETIMES = ("active", "lives", "next_action_mask")
"""Fields of a `Step` that are sent as they are; the second ones not by every environment."""


@dataclass
class Errors:
    """Temporal-difference errors of E transitions, by the rows and the numbers of their steps."""

    row: np.ndarray  # int64 [E], among the actor's rows
    number: np.ndarray  # int64 [E], counted over the steps of the row, from its actor's beginning
    error: np.ndarray  # float32 [E], >= 0


@dataclass
class Experience:
    """T steps of an actor's R rows, in their order."""

    first: int
    """Number of the first one among the actor's steps: each is sent once, without a gap."""
    version: int
    """Updates in the weights that chose the actions."""
    began: Arrays | None
    """The observations before the first step, [R, ...], if that is the actor's first."""
    obs: Arrays
    """The observations after each step that are acted on next, [T, R, ...]."""
    final: dict[int, Arrays]
    """The true successors [R, ...] in the steps in which an episode ended; elsewhere they are `obs`."""
    steps: dict[str, np.ndarray]
    """Action, reward and so on of each step, [T, R, ...], by the names in `Step` and `Acted`."""
    episodes: list[tuple[float, int]] = field(default_factory=list)
    """Returns and lengths of the episodes that ended, in their order."""
    errors: Errors | None = None
    """Of the transitions that these steps complete, if the replay is prioritized."""

    @property
    def length(self) -> int:
        return len(self.steps["reward"])

    @property
    def num_active(self) -> int:
        """The env steps in it."""
        active = self.steps.get("active")
        return int(self.steps["reward"].size if active is None else active.sum())


class Recorder:
    """Makes experience of steps as they are taken."""

    def __init__(self) -> None:
        self.taken = 0
        """Steps handed over so far."""
        self._began: Arrays | None = None
        self._steps: list[tuple[Acted, Step]] = []

    def begin(self, obs: Obs) -> None:
        """The first observations."""
        self._began = arrays(obs)

    def add(self, acted: Acted, step: Step) -> None:
        self._steps.append((acted, step))

    def take(self, version: int) -> Experience:
        """The steps since the last call, at least one, which were chosen by the weights of a version."""
        steps, first, began = self._steps, self.taken, self._began
        self._steps, self._began = [], None
        self.taken += len(steps)
        found = {"action": _stacked([acted.action for acted, _ in steps])}
        found |= {name: _stacked([getattr(step, name) for _, step in steps]) for name in ALWAYS}
        for name in SOMETIMES:
            found |= _if_any(name, [getattr(step, name) for _, step in steps])
        for name in ("mask", "memory"):
            found |= _if_any(name, [getattr(acted, name) for acted, _ in steps])
        obs = _together([step.obs for _, step in steps])
        ended = {index: step for index, (_, step) in enumerate(steps) if step.num_ended != 0}
        final = {index: arrays(step.next_obs) for index, step in ended.items()}
        episodes = [episode for step in ended.values() for episode in _episodes(step)]
        return Experience(first, version, began, obs, final, found, episodes)


def _episodes(step: Step) -> list[tuple[float, int]]:
    if step.episode_return is None or step.episode_length is None:
        return []
    rows = step.ended.nonzero().flatten()
    return list(zip(step.episode_return[rows].tolist(), step.episode_length[rows].tolist(), strict=True))


def arrays(obs: Obs) -> Arrays:
    """An observation on the CPU as arrays of the same memory."""
    return {key: arrays(part) for key, part in obs.items()} if isinstance(obs, dict) else obs.numpy()


def _stacked(parts: Sequence[Tensor]) -> np.ndarray:
    return np.stack([part.numpy() for part in parts])


def _together(parts: Sequence[Obs]) -> Arrays:
    first = parts[0]
    if isinstance(first, dict):
        return {key: _together([part[key] for part in parts]) for key in first}  # type: ignore[index]
    return np.stack([part.numpy() for part in parts])  # type: ignore[union-attr]


def _if_any(name: str, parts: Sequence[Tensor | None]) -> dict[str, np.ndarray]:
    """Under the name the parts of all steps, unless none has one; a missing one says True: all allowed, all active."""
    like = next((part for part in parts if part is not None), None)
    if like is None:
        return {}
    return {name: np.stack([np.ones_like(like.numpy()) if part is None else part.numpy() for part in parts])}


class Streams:
    """The rows of all actors as N streams, some of which take each step, as the agent's memory expects them."""

    def __init__(self, obs: Obs, num: int, *, device: torch.device) -> None:
        """`obs` are observations of any number of rows."""
        self.num, self.device = num, device
        self.obs = map_obs(lambda part: torch.zeros((num, *part.shape[1:]), dtype=part.dtype), obs)
        """What each stream acts on next, [N, ...], on the CPU."""
        self._on_device = self._moved(self.obs)
        self._lives: np.ndarray | None = None  # of all streams, int64 [N]

    def begin(self, rows: slice, obs: Arrays) -> None:
        """New episodes begin in these streams: of a new actor, or of one in place of a lost one."""
        self.obs = _with(self.obs, rows, obs)
        self._on_device = self._moved(self.obs)

    def step(self, parts: Sequence[tuple[slice, Experience, int]]) -> tuple[Obs, Acted, Step]:
        """One step of the streams of each part, which is step number `int` of its experience."""
        before, obs = self._on_device, self.obs
        for rows, experience, index in parts:
            obs = _with(obs, rows, _at(experience.obs, index), copy=obs is self.obs)
        self.obs = after = obs
        for rows, experience, index in parts:
            if index in experience.final:
                after = _with(after, rows, experience.final[index], copy=after is obs)
        self._on_device = on_device = self._moved(obs)
        after_on_device = on_device if after is obs else self._moved(after)
        got = {name: self._moved(part) for name, part in self._fields(parts).items()}
        action, mask, memory = got.pop("action"), got.pop("mask", None), got.pop("memory", None)
        acted = Acted(action, mask=mask, memory=memory)
        ended = int((got["terminated"] | got["truncated"]).sum()) if self.device.type == "cpu" else None
        active = sum(_active(experience, index) for _, experience, index in parts)
        whole = active == self.num
        given: dict[str, Any] = got if not whole else {**got, "active": None}
        return before, acted, Step(on_device, next_obs=after_on_device, num_active=active, num_ended=ended, **given)

    def _fields(self, parts: Sequence[tuple[slice, Experience, int]]) -> dict[str, Tensor]:
        """Each field for all streams: those that take no step are not active, and keep their lives."""
        found: dict[str, np.ndarray] = {"active": np.zeros(self.num, np.bool_)}
        for rows, experience, index in parts:
            found["active"][rows] = True
            for name, array in experience.steps.items():
                if name not in found:
                    found[name] = self._blank(name, array)
                found[name][rows] = array[index]
        if "lives" in found:
            self._lives = np.where(found["terminated"] | found["truncated"], 0, found["lives"])
        return {name: torch.from_numpy(array) for name, array in found.items()}

    def _blank(self, name: str, like: np.ndarray) -> np.ndarray:
        """A field [N, ...] before any stream has taken a step, from one [T, R, ...] of it."""
        if name == "lives" and self._lives is not None:
            return self._lives.copy()
        allowed = name in ("mask", "next_action_mask")
        blank: np.ndarray = np.full((self.num, *like.shape[2:]), 1 if allowed else 0, like.dtype)
        return blank

    def _moved(self, obs: Any) -> Any:
        return map_obs(lambda part: part.to(self.device), obs)


def _active(experience: Experience, index: int) -> int:
    active = experience.steps.get("active")
    return int(experience.steps["reward"][index].size if active is None else active[index].sum())


def _at(tree: Arrays, index: int) -> Arrays:
    return {key: _at(part, index) for key, part in tree.items()} if isinstance(tree, dict) else tree[index]


def _with(obs: Obs, rows: slice, values: Arrays, *, copy: bool = True) -> Obs:
    """The observations with other ones in these rows; in place without `copy`."""
    if isinstance(obs, dict):
        assert isinstance(values, dict)
        return {key: _with(part, rows, values[key], copy=copy) for key, part in obs.items()}
    assert isinstance(values, np.ndarray)
    changed = obs.clone() if copy else obs
    changed.numpy()[rows] = values
    return changed
