"""Environments made of single Gymnasium environments: the common part of the serial and worker-process versions."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.envs.defaults import kept_defaults
from gymnast.envs.env import Env
from gymnast.envs.errors import EnvError, EnvWarning
from gymnast.envs.rows import incoming, tensors
from gymnast.envs.rows.incoming import BadValue
from gymnast.envs.rows.row import Begun, Restored, Stepped
from gymnast.envs.step import Obs, Step, map_obs, to_tensor

NO_FRAMES: dict[int, np.ndarray] = {}
LOOKS = 100
"""Steps of every row, after a `reset`, whose observations are also checked against the bounds of their space."""


class RowsEnv(Env):
    """N single environments that this class resets itself, row by row, as their episodes end."""

    seeds_episodes = True
    _renders = False

    def __init__(
        self,
        id: str,
        num_envs: int,
        *,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        method: str,
        device: torch.device,
    ) -> None:
        self.id = id
        self.num_envs = num_envs
        self.device = device
        self._given_space = observation_space
        observation_space = tensors.without_text(observation_space, id)
        self.single_observation_space = observation_space
        self.single_action_space = action_space
        self.exact_resume = method != "none"
        self._stack = tensors.batcher(observation_space, device)
        self._looks = LOOKS
        self._warned = False
        tensors.check_observations(observation_space, id)
        tensors.check_actions(action_space, id)
        self._actions = tensors.row_actions(action_space)
        self._none = torch.zeros(num_envs, dtype=torch.bool, device=device)
        self._all = torch.ones(num_envs, dtype=torch.bool, device=device)
        self._statistics = np.float32 if device.type == "mps" else np.float64
        self._extras: tuple[str, ...] = ()
        self._rewards: list[float] = []
        self._reward = torch.zeros(num_envs, device=device)
        self._episode = [0] * num_envs
        self._begun = 0
        self._begun_by_row = [0] * num_envs
        self._episode_seeds: list[int] = []
        self._final_frames = NO_FRAMES
        """Last pictures of the episodes that ended in the last step."""

    @abstractmethod
    def _reset_rows(self, seeds: dict[int, int | None], *, reseed: bool) -> list[Begun]:
        """Begin an episode in each given row, in order; with `reseed`, rows without a seed take their own next one."""

    @abstractmethod
    def _totals(self, rows: list[int]) -> list[tuple[float, int]]:
        """True return and length of the episodes that just ended in these rows."""

    @abstractmethod
    def _extra_names(self) -> tuple[str, ...]:
        """Which of `row.EXTRAS` the environment gives, known after the first reset."""

    def reset(self, *, episode_seeds: Sequence[int] | None = None) -> Obs:
        self._episode_seeds = list(episode_seeds or ())
        self._begun = 0
        self._final_frames = NO_FRAMES
        with kept_defaults(self.id):
            begun = self._begin(list(range(self.num_envs)), reseed=True)
        self._extras = self._extra_names()
        self.obs = self._batch([observation for observation, _ in begun])
        self.start = self._all
        self.action_mask = self._mask([extras for _, extras in begun], running=range(self.num_envs))
        return self.obs

    def _begin(self, rows: list[int], *, reseed: bool = False) -> list[Begun]:
        seeds: dict[int, int | None] = {}
        for row in rows:
            number = self._begun
            seeds[row] = self._episode_seeds[number] if number < len(self._episode_seeds) else None
            self._episode[row] = number
            self._begun_by_row[row] += 1
            self._begun += 1
        return self._reset_rows(seeds, reseed=reseed)

    @property
    def episode(self) -> list[int]:
        return list(self._episode)

    def _step(self, stepped: list[Stepped]) -> Step:
        """The rows' step, with new episodes in rows where one ended."""
        observations: list[Any] = []
        rewards: list[float] = []
        ended = False
        for observation, reward, terminated, truncated, _ in stepped:
            observations.append(observation)
            rewards.append(reward)
            if terminated or truncated:
                ended = True
        if rewards != self._rewards:
            self._rewards = rewards
            array = np.array(rewards, np.float32) + np.float32(0.0)  # -0.0 becomes 0.0, which it equals above
            self._reward = self._tensor(array)
        next_obs = self._batch(observations)
        lives = mask = None
        if self._extras:
            extras = [row[4] for row in stepped]
            running = [
                row for row, (_, _, terminated, truncated, _) in enumerate(stepped) if not terminated | truncated
            ]
            lives, mask = self._lives(extras), self._mask(extras, running=running)
        none = self._none
        step = Step(next_obs, none, next_obs, self._reward, none, none, self.num_envs, 0, None, lives, mask, mask)
        self._final_frames = NO_FRAMES
        if ended:
            self._end(step, stepped)
        self.obs, self.start, self.action_mask = step.obs, step.start, step.action_mask
        return step

    def _end(self, step: Step, stepped: list[Stepped]) -> None:
        """Begin new episodes in rows where one ended, and fill in the fields that differ there."""
        terminated = np.array([row[2] for row in stepped], np.bool_)
        truncated = np.array([row[3] for row in stepped], np.bool_)
        both = terminated | truncated
        rows: list[int] = both.nonzero()[0].tolist()
        step.num_ended = len(rows)
        returns, lengths = np.zeros(self.num_envs, self._statistics), np.zeros(self.num_envs, np.int64)
        for row, (total, length) in zip(rows, self._totals(rows), strict=True):
            returns[row], lengths[row] = total, length
        step.terminated, step.truncated = self._tensor(terminated), self._tensor(truncated)
        step.start = self._tensor(both)
        step.episode_return, step.episode_length = self._tensor(returns), self._tensor(lengths)
        if self._renders:
            self._final_frames = {row: self._frame(row) for row in rows}
        begun: list[Begun] = [(row[0], row[4]) for row in stepped]
        for row, first in zip(rows, self._begin(rows), strict=True):
            begun[row] = first
        step.obs = self._batch([observation for observation, _ in begun])
        step.action_mask = self._mask([extras for _, extras in begun], running=rows)

    def _batch(self, observations: Sequence[Any]) -> Obs:
        """One batch of the rows' observations; EnvError names the row of one outside its space."""
        if self._looks and not self._warned:
            self._look(observations)
        try:
            return self._stack(observations)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            for row, observation in enumerate(observations):
                if found := incoming.problem(observation, self.single_observation_space):
                    raise EnvError(f"{self.id} {found} ({self._where(row)})") from error
                with self._in_words(row):
                    self._stack([observation])
            raise EnvError(f"{self.id} gave observations that cannot be put into one batch: {error}") from error

    def _look(self, observations: Sequence[Any]) -> None:
        """Warn once about an observation out of bounds: it is not changed, and the run continues."""
        self._looks -= 1
        for row, observation in enumerate(observations):
            if incoming.problem(observation, self.single_observation_space):
                return  # an error, which `_batch` raises
            if found := incoming.outside(observation, self._given_space):
                self._warned = True
                warnings.warn(f"{self.id} {found} ({self._where(row)})", EnvWarning, stacklevel=2)
                return

    @contextmanager
    def _in_words(self, row: int) -> Iterator[None]:
        """An EnvError that names the row if one of its values is invalid."""
        try:
            yield
        except BadValue as error:
            raise EnvError(f"{self.id} {error} ({self._where(row)})") from error

    def _where(self, row: int) -> str:
        """Row, episode and step, for messages."""
        length = self._lengths()[row]
        step = f"step {length}" if length else "reset"
        return f"{step} of episode {self._begun_by_row[row]}, row {row}"

    @abstractmethod
    def _lengths(self) -> Sequence[int]:
        """Steps of the episode that each row is in."""

    @abstractmethod
    def _frame(self, row: int) -> np.ndarray:
        """The current picture of a row's environment."""

    @abstractmethod
    def _snapshot_rows(self) -> list[dict[str, Any]]:
        """`Row.snapshot` of every row."""

    @abstractmethod
    def _restore_rows(self, states: list[dict[str, Any]]) -> list[Restored]:
        """`Row.restore` of every row."""

    @abstractmethod
    def _lasting_rows(self) -> list[dict[str, Any]]:
        """`Row.lasting` of every row."""

    @abstractmethod
    def _put_lasting_rows(self, states: list[dict[str, Any]]) -> None:
        """`Row.put_lasting` of every row."""

    @abstractmethod
    def impose_limit(self, limit: int | None) -> bool:
        """`Row.impose_limit` of every row: whether any has no own time limit."""

    def lasting(self) -> dict[str, Any]:
        rows: dict[str, Any] = {"rows": tensors.arrays_to_tensors(self._lasting_rows())}
        return rows

    def put_lasting(self, kept: dict[str, Any]) -> None:
        if len(kept["rows"]) != self.num_envs:
            raise ValueError(f"state of {len(kept['rows'])} environments cannot be restored in {self.num_envs}")
        self._put_lasting_rows(tensors.tensors_to_arrays(kept["rows"]))

    def snapshot(self) -> dict[str, Any]:
        if not self.exact_resume:
            return super().snapshot()
        return {
            "rows": tensors.arrays_to_tensors(self._snapshot_rows()),
            "obs": self.obs,
            "start": self.start,
            "action_mask": self.action_mask,
            "extras": list(self._extras),
            "episode": self.episode,
            "begun": self._begun,
            "begun_by_row": list(self._begun_by_row),
            "episode_seeds": self._episode_seeds,
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        if not self.exact_resume:
            super().restore(snapshot)
        if len(snapshot["rows"]) != self.num_envs:
            raise ValueError(
                f"a snapshot of {len(snapshot['rows'])} environments cannot be restored with num_envs={self.num_envs}"
            )
        self._final_frames = NO_FRAMES
        restored = self._restore_rows(tensors.tensors_to_arrays(snapshot["rows"]))
        self.obs = map_obs(lambda tensor: tensor.to(self.device), snapshot["obs"])
        mask = snapshot["action_mask"]
        self.start = snapshot["start"].to(self.device)
        self.action_mask = None if mask is None else mask.to(self.device)
        self._extras = tuple(snapshot["extras"])
        self._episode = list(snapshot["episode"])
        self._begun = snapshot["begun"]
        self._begun_by_row = list(snapshot.get("begun_by_row", self._begun_by_row))  # earlier builds did not keep it
        self._episode_seeds = list(snapshot["episode_seeds"])
        self.fresh_rows = tuple(row for row, (_, _, fresh) in enumerate(restored) if fresh)
        if restored[0][0] is not None:
            self._compare(restored)

    def _compare(self, restored: list[Restored]) -> None:
        """Check the observations that replays reached, and use those of rows that began new episodes."""
        batch = self._batch([observation for observation, _, _ in restored])
        fresh = np.array(self.fresh_rows, np.int64)
        if len(fresh):
            self.obs = tensors.replace_rows(self.obs, fresh, tensors.select_rows(batch, fresh))
            self.start = self.start.clone()
            self.start[fresh] = True
            for row in self.fresh_rows:
                self._episode[row] = self._begun
                self._begun += 1
            if self.action_mask is not None:
                index = self._extras.index("action_mask")
                masks = np.array([extras[index] for _, extras, new in restored if new and extras is not None], np.bool_)
                self.action_mask = self.action_mask.clone()
                self.action_mask[fresh] = self._tensor(masks)
        if not tensors.equal(batch, self.obs):
            raise ValueError(f"{self.id} cannot be restored: the same seed and actions led to a different observation")

    def render(self, row: int = 0) -> np.ndarray:
        if not self._renders:
            return super().render(row)
        return self._final_frames[row] if row in self._final_frames else self._frame(row)

    def _lives(self, extras: Sequence[Any]) -> Tensor | None:
        """Lives of all rows, int64 [N]; None if the environment has none."""
        if "lives" not in self._extras:
            return None
        index = self._extras.index("lives")
        return self._tensor(np.array([values[index] for values in extras], np.int64))

    def _mask(self, extras: Sequence[Any], *, running: Sequence[int]) -> Tensor | None:
        """Action masks of all rows, bool [N, A]; EnvError if a running row is allowed nothing.

        Other rows that are allowed nothing, as some are at the end of an episode, are allowed everything.
        """
        if "action_mask" not in self._extras:
            return None
        index = self._extras.index("action_mask")
        masks = self._bits([values[index] for values in extras])
        for row, mask in enumerate(masks):
            if incoming.allows_none(mask, self.single_action_space):
                if row in running:
                    raise EnvError(f"{self.id} allows no action, in the middle of an episode ({self._where(row)})")
                masks[row] = True  # no action follows; so agents never see a mask that allows none
        return self._tensor(masks)

    def _bits(self, masks: list[np.ndarray]) -> np.ndarray:
        """The rows' masks [A] as bools [N, A]; EnvError names the row of one with values other than 0 and 1."""
        try:
            return incoming.bits(np.array(masks))
        except BadValue:
            for row, mask in enumerate(masks):
                with self._in_words(row):
                    incoming.bits(mask)
            raise

    def _tensor(self, array: np.ndarray) -> Tensor:
        return to_tensor(array, self.device)


def row_seeds(seed: np.random.SeedSequence, num_envs: int, first_row: int) -> list[np.random.SeedSequence]:
    """The seeds of `num_envs` rows from number `first_row` on: that of a row does not depend on how many there are."""
    return seed.spawn(first_row + num_envs)[first_row:]
