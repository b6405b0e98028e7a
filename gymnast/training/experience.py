"""Experience on its way from an actor's process to the learner: some steps of the actor's rows, as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        self._obs = map_obs(lambda part: torch.zeros((num, *part.shape[1:]), dtype=part.dtype), obs)  # on the CPU
        self._before: Obs = self._moved(self._obs)  # the same on the device
        self._lives: np.ndarray | None = None  # int64 [N]

    def begin(self, rows: slice, obs: Arrays) -> None:
        """New episodes begin in these streams: of a new actor, or of one in place of a lost one."""
        self._obs = _with(self._obs, rows, obs)
        self._before = self._moved(self._obs)

    def steps(self, parts: Sequence[tuple[slice, Experience]]) -> Iterator[tuple[Obs, Acted, Step]]:
        """The steps of these streams, those of several parts together; a part that has ended is not active."""
        length = max(experience.length for _, experience in parts)
        host = self._fields(parts, length)
        active, ended = (array.sum(1).tolist() for array in (host["active"], host["terminated"] | host["truncated"]))
        fields = {name: torch.from_numpy(array).to(self.device) for name, array in host.items()}
        obs = _spread(self._obs, [(rows, experience.obs) for rows, experience in parts], length)  # [T, N, ...]
        on_device = self._moved(obs)
        for index in range(length):
            before, self._obs, self._before = self._before, _row(obs, index), _row(on_device, index)
            following = self._before
            given = {name: field[index] for name, field in fields.items()}
            action, mask, memory = given.pop("action"), given.pop("mask", None), given.pop("memory", None)
            acted = Acted(action, mask=mask, memory=memory)
            known: dict[str, Any] = {**given, "num_active": active[index], "num_ended": ended[index]}
            if active[index] == self.num:
                known["active"] = None
            yield before, acted, Step(following, next_obs=self._successor(parts, index), **known)

    def _successor(self, parts: Sequence[tuple[slice, Experience]], index: int) -> Obs:
        """The true successors after a step: the observations now, but for episodes that ended."""
        final = [(rows, experience.final[index]) for rows, experience in parts if index in experience.final]
        if not final:
            return self._before
        obs = self._obs
        for rows, values in final:
            obs = _with(obs, rows, values)
        moved: Obs = self._moved(obs)
        return moved

    def _fields(self, parts: Sequence[tuple[slice, Experience]], length: int) -> dict[str, np.ndarray]:
        """Each field of all steps, [T, N, ...]; streams that take no step are not active, and keep their lives."""
        found: dict[str, np.ndarray] = {"active": np.zeros((length, self.num), np.bool_)}
        for rows, experience in parts:
            found["active"][: experience.length, rows] = True
            for name, array in experience.steps.items():
                if name not in found:
                    found[name] = self._blank(name, array, length)
                found[name][: experience.length, rows] = array
        if "lives" in found:
            self._keep_lives(found, parts)
        return found

    def _blank(self, name: str, like: np.ndarray, length: int) -> np.ndarray:
        """A field [T, N, ...] before any stream has taken a step, from one of another shape of it."""
        if name == "lives" and self._lives is not None:
            return np.tile(self._lives, (length, 1))
        allowed = name in ("mask", "next_action_mask")
        return np.full((length, self.num, *like.shape[2:]), 1 if allowed else 0, like.dtype)

    def _keep_lives(self, fields: dict[str, np.ndarray], parts: Sequence[tuple[slice, Experience]]) -> None:
        """Lives stay as they are after the last step of a part: 0 if its episode ended."""
        lives, ended = fields["lives"], fields["terminated"] | fields["truncated"]
        for rows, experience in parts:
            last = experience.length - 1
            lives[last + 1 :, rows] = np.where(ended[last, rows], 0, lives[last, rows])
        self._lives = np.where(ended[-1], 0, lives[-1])

    def _moved(self, obs: Any) -> Any:
        return map_obs(lambda part: part.to(self.device), obs)


def _spread(now: Obs, parts: Sequence[tuple[slice, Arrays]], length: int) -> Obs:
    """Observations [T, N, ...] from those [T', R, ...] of some rows; all others, and after the last one, stay."""
    if isinstance(now, dict):
        inside = {key: [(rows, values[key]) for rows, values in parts if isinstance(values, dict)] for key in now}
        return {key: _spread(part, inside[key], length) for key, part in now.items()}
    whole = now.unsqueeze(0).repeat(length, *[1] * now.dim())
    array = whole.numpy()
    for rows, values in parts:
        assert isinstance(values, np.ndarray)
        array[: len(values), rows], array[len(values) :, rows] = values, values[-1]
    return whole


def _row(obs: Obs, index: int) -> Obs:
    return map_obs(lambda part: part[index], obs)


def _with(obs: Obs, rows: slice, values: Arrays) -> Obs:
    """The observations with other ones in these rows."""
    if isinstance(obs, dict):
        assert isinstance(values, dict)
        return {key: _with(part, rows, values[key]) for key, part in obs.items()}
    assert isinstance(values, np.ndarray)
    changed = obs.clone()
    changed.numpy()[rows] = values
    return changed
