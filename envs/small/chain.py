"""Chain: a small reward at hand at the left end, a large one far away at the right end, known optimal values."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

CELL = 32  # pixels of one state of the rendered chain


class Chain(gym.Env[Any, Any]):
    """Walk along a line of states: the near end pays little at once, the far end pays much.

    ## Description
    The simplest problem in which greed for the first reward is wrong: an agent that starts at the left end and stops
    exploring there never sees the right end.

    ## Action Space
    `Discrete(2)`: 0 goes left, 1 goes right.

    ## Observation Space
    `Discrete(length)`: the state, 0 at the left end.

    ## Rewards
    `left_reward` (0.1) for going left in state 0, `right_reward` (1) for going right in the last state, 0 otherwise.
    Optimal values are in `optimal_values`.

    ## Starting State
    State 0.

    ## Episode End
    Terminated by going left in state 0 or right in the last state. Never truncated without a time limit.

    ## Arguments
    `length` (5), at least 1; `left_reward`; `right_reward`. `P` and `initial_state_distrib` describe it as Gymnasium's
    toy-text environments do.

    ## Version History
    * v0: first version
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012 - gymnasium's own attribute

    def __init__(
        self,
        length: int = 5,
        *,
        left_reward: float = 0.1,
        right_reward: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        if length < 1:
            raise ValueError(f"length must be >= 1, got {length}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be None or rgb_array, got {render_mode!r}")
        self.observation_space = gym.spaces.Discrete(length)
        self.action_space = gym.spaces.Discrete(2)
        self.render_mode = render_mode
        self.length, self.left_reward, self.right_reward = length, float(left_reward), float(right_reward)
        self.state = 0
        self.P = {state: {action: [self._outcome(state, action)] for action in (0, 1)} for state in range(length)}
        self.initial_state_distrib = np.zeros(length)
        self.initial_state_distrib[0] = 1.0

    def _outcome(self, state: int, action: int) -> tuple[float, int, float, bool]:
        """(probability, next state, reward, terminated) of the only outcome."""
        target = state + (1 if action == 1 else -1)
        if target < 0:
            return 1.0, state, self.left_reward, True
        if target == self.length:
            return 1.0, state, self.right_reward, True
        return 1.0, target, 0.0, False

    def optimal_values(self, gamma: float) -> NDArray[np.float64]:
        """v* of each state, float64 [length]: the better of walking straight to either end, for 0 <= gamma <= 1.

        Rewards must not be negative: with two negative ones it would be best never to arrive.
        """
        if min(self.left_reward, self.right_reward) < 0:
            raise ValueError("optimal_values needs rewards >= 0")
        discount: NDArray[np.float64] = np.power(gamma, np.arange(self.length))  # of walking so many states first
        return np.maximum(discount * self.left_reward, discount[::-1] * self.right_reward)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = 0
        return self.state, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        _, self.state, reward, terminated = self.P[self.state][int(action)][0]
        return self.state, reward, terminated, False, {}

    def render(self) -> NDArray[np.uint8] | None:
        """The line of states, uint8 [32, 32 length, 3], the current one orange."""
        if self.render_mode is None:
            return None
        picture = np.full((1, self.length, 3), 24, np.uint8)
        picture[0, self.state] = (245, 161, 66)
        picture = picture.repeat(CELL, 0).repeat(CELL, 1)
        picture[:, ::CELL] = 90  # lines between the states
        return picture

    def snapshot(self) -> dict[str, Any]:
        """Everything that the future depends on, as plain Python values."""
        return {"state": self.state, "np_random": self.np_random.bit_generator.state}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self.state = snapshot["state"]
        self.np_random.bit_generator.state = snapshot["np_random"]
