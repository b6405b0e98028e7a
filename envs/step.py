"""The types that environments pass to the loop and to agents; agents know no other part of `envs`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from torch import Tensor

Obs: TypeAlias = "Tensor | dict[str, Obs]"
"""A batch of observations: a tensor with leading axis N, or a nested dict of them.

A Gymnasium `Tuple` space becomes a dict with the keys "0", "1", …; a `Discrete` one an int64 tensor [N] that holds
the space's own numbers (its `start` included).
"""


@dataclass(slots=True)
class Step:
    """One step of N environments; every tensor is on the environment's device and belongs to the caller.

    Nothing here is ever written again by the environment, so a step may be kept. Where no episode ended, `obs` and
    `next_obs` may be the same tensor and constant rows may be shared between steps: read them, do not write them.
    """

    obs: Obs
    """What the policy sees next, [N, ...]: the first observation of the new episode where one ended."""
    start: Tensor
    """Rows of `obs` that begin an episode, bool [N]."""
    next_obs: Obs
    """The true successor of the action, [N, ...]: the final observation where the episode ended."""
    reward: Tensor
    """float32 [N], exactly as returned by the environment, never clipped."""
    terminated: Tensor
    """The episode ended in a terminal state, bool [N]: no bootstrap."""
    truncated: Tensor
    """The episode was cut off, bool [N]: bootstrap from `next_obs`."""
    num_active: int
    """Host integer: transitions that count in this step (N unless `active` says less)."""
    num_ended: int | None
    """Host integer: rows that ended in this step. None where only the device knows."""
    active: Tensor | None = None
    """False on rows whose action the environment ignored, bool [N]: not stored, not counted. None means all rows."""
    lives: Tensor | None = None
    """Lives left after the step, int64 [N], where the environment has them."""
    action_mask: Tensor | None = None
    """Allowed actions in `obs`, bool [N, A], where the environment says them."""
    next_action_mask: Tensor | None = None
    """Allowed actions in `next_obs`, bool [N, A]."""
    episode_return: Tensor | None = None
    """True undiscounted return, float64 [N], read only where an episode ended. None where none did."""
    episode_length: Tensor | None = None
    """True length in env steps, int64 [N], read only where an episode ended. None where none did."""

    @property
    def ended(self) -> Tensor:
        """Rows whose episode ended here, bool [N]: only for resets and logs; learning uses `terminated`."""
        return self.terminated | self.truncated


@dataclass(frozen=True, slots=True)
class TransitionTable:
    """A finite Markov decision process as arrays: S states, A actions, at most K outcomes of each pair.

    Outcomes stand in the order in which the environment draws them; unused ones have probability 0.
    """

    probability: np.ndarray  # float64 [S, A, K]
    next_state: np.ndarray  # int64 [S, A, K]
    reward: np.ndarray  # float64 [S, A, K]
    terminated: np.ndarray  # bool [S, A, K]
    initial: np.ndarray  # float64 [S], the distribution of first states
    max_episode_steps: int | None  # the time limit, None without one


def map_obs(function: Callable[[Tensor], Tensor], obs: Obs) -> Obs:
    """Apply a function to each tensor of an observation, keeping the nesting."""
    if isinstance(obs, dict):
        return {key: map_obs(function, value) for key, value in obs.items()}
    return function(obs)
