"""The interface of every gymnast environment: N rows stepped together as one stream of true transitions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.envs.step import GoalRewards, Obs, Step, TransitionTable


class Env(ABC):
    """N environments that are stepped together and reset themselves.

    An environment gives the same transitions here with any autoreset mode: each real step once, with the true
    final observation, and never a step that crosses two episodes.
    """

    id: str
    """The Gymnasium id, or a name for a given function or object."""
    num_envs: int
    device: torch.device
    single_observation_space: gym.Space[Any]
    single_action_space: gym.Space[Any]
    frame_skip: int = 1
    """Emulator frames per env step."""
    frame_stack: int = 1
    """Frames per observation [K, ...], the newest last; a replay may store each once."""
    step_limit: int | None = None
    """Steps after which an evaluation cuts off episodes, if the environment itself has no limit."""
    render_fps: float = 30.0
    """Frames of `render` per second of the environment's own time."""

    obs: Obs
    """The current observation: from `reset`, the last step's `obs`, or from `restore`."""
    start: Tensor
    """Rows of `obs` that begin an episode, bool [N]."""
    action_mask: Tensor | None = None
    """Allowed actions in `obs`, bool [N, A], or None."""

    seeds_episodes: bool = False
    """Whether `reset(episode_seeds=...)` is supported."""
    overlaps: bool = False
    """Whether the rows step in the background between `send` and `receive`."""
    skips_rows: bool = False
    """Whether a step may leave out rows, which it only resets (`Step.active`)."""
    host_counts: bool = True
    """Whether a step says how many rows ended; else only the device knows (`Step.num_ended` None)."""
    exact_resume: bool = False
    """Whether `snapshot` and `restore` reproduce exactly the same future."""

    @abstractmethod
    def reset(self, *, episode_seeds: Sequence[int] | None = None) -> Obs:
        """Begin an episode in every row and return the first observations [N, ...].

        With `episode_seeds`, episode number k (counted over all rows, in the order in which they begin, lower rows
        first) is seeded with `episode_seeds[k]`, so that an episode does not depend on N; `episode[row]` says which
        one a row is in. Episodes past the last seed are unseeded. Raises ValueError if `seeds_episodes` is False.
        """

    @abstractmethod
    def step(self, action: Tensor) -> Step:
        """Take one action in each row; `action` [N, ...] is in the action space (including its `start`)."""

    def send(self, action: Tensor) -> None:
        """Begin a step; only `receive` may follow. `step` is both in sequence."""
        raise NotImplementedError(f"{self.id} steps only synchronously")

    def receive(self) -> Step:
        """Wait for the step that `send` began."""
        raise NotImplementedError(f"{self.id} steps only synchronously")

    @property
    def episode(self) -> list[int]:
        """The number of each row's current episode, counted over all rows since the last `reset`."""
        raise NotImplementedError(f"{self.id} does not support numbered episodes")

    def snapshot(self) -> dict[str, Any]:
        """All that `restore` needs: tensors, numbers, strings, lists and dicts of them (no NumPy values)."""
        raise NotImplementedError(f"{self.id} cannot be restored exactly")

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Restore the state of a snapshot, including `obs`, `start` and `action_mask`."""
        raise NotImplementedError(f"{self.id} cannot be restored exactly")

    forgets: tuple[str, ...] = ()
    """Wrappers whose statistics `lasting` cannot include."""
    fresh_rows: tuple[int, ...] = ()
    """Rows that the last `restore` could not restore, and which began new episodes."""

    def lasting(self) -> dict[str, Any]:
        """State that persists across episodes (statistics, counters), for `put_lasting`; values as in `snapshot`."""
        return {}

    def put_lasting(self, kept: dict[str, Any]) -> None:  # noqa: B027 - most environments keep nothing
        """Restore the result of `lasting` if no snapshot can be restored; a `reset` must follow."""

    def transition_table(self) -> TransitionTable | None:
        """The environment's known dynamics (`unwrapped.P`), or None."""
        return None

    def goal_rewards(self) -> GoalRewards | None:
        """Its own rewards for any goals (`compute_reward` of Gymnasium-Robotics), or None if it has no goals."""
        return None

    def render(self, row: int = 0) -> np.ndarray:
        """One RGB frame of a row, uint8 [H, W, 3]; the environment was made with `render=True`.

        Right after a step that ended the row's episode it is the final frame of that episode.
        """
        raise ValueError(f"{self.id} was not made with render=True")

    def close(self) -> None:  # noqa: B027 - most environments hold nothing open
        """Free workers and emulators; calling it twice is harmless."""
