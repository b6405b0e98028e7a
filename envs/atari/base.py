"""Atari 2600 games as rows of one environment, whichever emulator plays them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from gymnast.envs.atari.names import AtariName
from gymnast.envs.atari.options import AtariOptions, refuse_other
from gymnast.envs.env import Env
from gymnast.envs.step import Obs, Step

RESEED_AFTER = 10_000
"""Actions after which a row's next reset is seeded, so that ale-py's games can be replayed from there (75 ms a reset,
5 ms an unseeded one)."""
NO_CAP = 2**30
"""Frames that no episode reaches: the adapter cuts episodes off itself, at whole env steps."""
Results = tuple[NDArray[np.uint8], NDArray[Any], NDArray[np.bool_], NDArray[Any]]
"""What an action gives in all rows: observations, rewards, game overs, lives."""


class Atari(Env):
    """N rows of one game, wherever they are played."""

    seeds_episodes = True
    exact_resume = True

    def __init__(
        self,
        name: AtariName,
        num_envs: int,
        *,
        num_actions: int,
        options: AtariOptions,
        device: torch.device,
        max_episode_steps: int,
    ) -> None:
        self.id, self.num_envs, self.device, self.options = name.id, num_envs, device, options
        self.frame_skip, self.max_episode_steps = options.frame_skip, max_episode_steps
        self.render_fps = 60 / options.frame_skip  # the console's own speed
        self.frame_stack = options.stack if options.grayscale else 1
        channels = options.stack * (1 if options.grayscale else 3)
        self.single_observation_space = spaces.Box(0, 255, (channels, options.screen, options.screen), np.uint8)
        self.single_action_space = spaces.Discrete(num_actions)

    @abstractmethod
    def ram(self, row: int = 0) -> NDArray[np.uint8]:
        """The console's memory in a row's current state, uint8 [128]."""


class HostAtari(Atari):
    """N rows of one game; uint8 observations [N, stack, 84, 84], true rewards, whole games as episodes.

    Where it differs from Gymnasium's `AtariPreprocessing` and `FrameStackObservation`: an episode begins with 0 to
    `noop_max` no-ops, not 1 to `noop_max`; frames of the stack from before the episode are black (Gymnasium's
    `padding_type="zero"`); `max_frames` counts frames of play, not the no-ops. As there, a game that ends within an
    action shows its last screen before that action in the final observation, which no bootstrap reads.

    Both emulators, with one seed and the same actions, give the same steps.
    """

    overlaps = True

    def __init__(
        self,
        name: AtariName,
        num_envs: int,
        *,
        seed: int | np.random.SeedSequence,
        render: bool,
        first_row: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__(name, num_envs, **settings)
        self.can_render, self._sent = render, False
        self._num_actions = settings["num_actions"]
        self._rng = np.random.default_rng(seed)  # draws the emulators' seeds
        self._first_row = first_row
        """0 after the first reset, whose seeds begin with this row's."""
        self._length = np.zeros(num_envs, np.int64)
        self._return = np.zeros(num_envs, np.float64)
        self._age = np.zeros(num_envs, np.int64)
        """Actions since each row's last seeded reset."""
        self._episode_seeds: list[int] = []
        self._episode = [-1] * num_envs
        self._episodes_begun = 0
        self._just_ended = np.zeros(num_envs, np.bool_)  # rows that ended in the last step: `render` shows their end
        self._no_start = torch.zeros(num_envs, dtype=torch.bool, device=self.device)

    @abstractmethod
    def _begin_act(self, actions: NDArray[np.int64]) -> None:
        """Have the emulators' threads take one action in each row."""

    @abstractmethod
    def _end_act(self) -> Results:
        """Wait for its results, which nothing overwrites."""

    @abstractmethod
    def _reset_rows(self, rows: NDArray[np.bool_], seeds: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Reset some rows, seeded if `seeds` [N] is not -1; the observations of all rows, new memory."""

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """The emulators' part of a snapshot."""

    @abstractmethod
    def _put_back(self, snapshot: dict[str, Any]) -> NDArray[np.uint8]:
        """Restore the emulators, `_length`, `_return` and `_age`; the observations."""

    @abstractmethod
    def _picture(self, row: int, *, final: bool) -> NDArray[np.uint8]:
        """A row's screen in colour; `final`: the last one before its reset."""

    def reset(self, *, episode_seeds: Sequence[int] | None = None) -> Obs:
        self._episode_seeds = [int(seed) for seed in episode_seeds or ()]
        self._episodes_begun = 0
        self._just_ended = np.zeros(self.num_envs, np.bool_)
        rows = np.ones(self.num_envs, np.bool_)
        seeds = self._first_seeds()
        self.obs = self._tensor(self._begin(rows, np.array(seeds, np.int64)))
        self.start = torch.ones_like(self._no_start)
        return self.obs

    def step(self, action: Tensor) -> Step:
        self.send(action)
        return self.receive()

    def send(self, action: Tensor) -> None:
        self._send(action.cpu().numpy())

    def receive(self) -> Step:
        obs, reward, terminated, truncated, lives = self._receive()
        next_obs = self._tensor(obs)
        step = Step(
            obs=next_obs,
            start=self._no_start,
            next_obs=next_obs,
            reward=self._tensor(reward.astype(np.float32)),
            terminated=self._tensor(terminated),
            truncated=self._tensor(truncated),
            num_active=self.num_envs,
            num_ended=0,
            lives=self._tensor(lives.astype(np.int64)),
        )
        ended = self._just_ended = terminated | truncated
        if ended.any():
            step.num_ended = int(ended.sum())
            step.episode_return = self._tensor(self._return.copy())
            step.episode_length = self._tensor(self._length.copy())
            seeds = np.full(self.num_envs, -1, np.int64)
            for row in np.flatnonzero(ended).tolist():
                seeds[row] = self._next_seed(row)
            step.obs, step.start = self._tensor(self._begin(ended, seeds)), self._tensor(ended)
        self.obs, self.start = step.obs, step.start
        return step

    @property
    def episode(self) -> list[int]:
        return list(self._episode)

    def snapshot(self) -> dict[str, Any]:
        return {
            "emulator": self.options.emulator,
            "options": self.options.played(),
            **self._state(),
            "rng": self._rng.bit_generator.state,
            "obs": torch.as_tensor(self.obs).cpu().clone(),
            "start": self.start.cpu().clone(),
            "episode": list(self._episode),
            "episodes_begun": self._episodes_begun,
            "episode_seeds": list(self._episode_seeds),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        refuse_other(
            snapshot, id=self.id, emulator=self.options.emulator or "", options=self.options, num_envs=self.num_envs
        )
        obs = self._put_back(snapshot)
        if not np.array_equal(obs, snapshot["obs"].numpy()):
            raise ValueError(f"{self.id} did not reproduce the stored observation: was it made with other options?")
        self._rng.bit_generator.state = snapshot["rng"]
        self._episode, self._episodes_begun = list(snapshot["episode"]), snapshot["episodes_begun"]
        self._episode_seeds = list(snapshot["episode_seeds"])
        self._just_ended = np.zeros(self.num_envs, np.bool_)
        self.obs, self.start = self._tensor(obs), snapshot["start"].to(self.device)

    def render(self, row: int = 0) -> NDArray[np.uint8]:
        """A row's picture: one RGB frame in the emulator's own size, uint8 [210, 160, 3] for most games."""
        if not self.can_render:
            return super().render(row)
        return self._picture(row, final=bool(self._just_ended[row]))

    def _send(self, actions: NDArray[np.int64]) -> None:
        if self._sent:  # ale-py would mix the two up
            raise RuntimeError(f"{self.id}: send was called twice without receive")
        if actions.min() < 0 or actions.max() >= self._num_actions:  # an invalid action would hang ale-py's threads
            raise ValueError(f"actions of {self.id} must be in 0..{self._num_actions - 1}, got {actions.tolist()}")
        self._begin_act(actions)
        self._sent = True

    def _receive(self) -> tuple[NDArray[Any], ...]:
        """The results: obs, reward, terminated, truncated, lives."""
        if not self._sent:  # ale-py would wait forever
            raise RuntimeError(f"{self.id}: receive was called without send")
        self._sent = False
        obs, reward, terminated, lives = self._end_act()
        self._length += 1
        self._age += 1
        self._return += reward
        truncated = (self._length >= self.max_episode_steps) & ~terminated
        return obs, reward, terminated, truncated, lives

    def _begin(self, rows: NDArray[np.bool_], seeds: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Reset some rows, as `_reset_rows`."""
        obs = self._reset_rows(rows, seeds)
        self._length[rows] = 0
        self._return[rows] = 0.0
        self._age[rows & (seeds >= 0)] = 0
        return obs

    def _first_seeds(self) -> list[int]:
        """A seed for every row; those of the first reset do not depend on which rows are here."""
        first, self._first_row = self._first_row, 0
        for _ in range(first):
            self._rng.integers(2**31)
        seeds = [self._next_seed(row, always=True) for row in range(self.num_envs)]
        if first:  # or later seeds would be those of the rows that follow
            self._rng = np.random.Generator(self._rng.bit_generator.jumped(first))  # type: ignore[attr-defined]
        return seeds

    def _next_seed(self, row: int, *, always: bool = False) -> int:
        """Number the row's next episode and choose its seed, -1 to let the emulator's generator continue."""
        number = self._episodes_begun
        self._episode[row] = number
        self._episodes_begun += 1
        if number < len(self._episode_seeds):
            return int(np.random.SeedSequence(self._episode_seeds[number]).generate_state(1)[0] >> 1)
        if always or self._age[row] >= RESEED_AFTER:
            return int(self._rng.integers(2**31))
        return -1

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        """The array's own memory on a CPU (nothing overwrites it), else its copy on the device."""
        tensor = torch.from_numpy(array)
        return tensor if self.device.type == "cpu" else tensor.to(self.device)
