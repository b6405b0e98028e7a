"""Reach: a point is pushed to a goal, of which only a sparse reward tells."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

FRICTION, PUSH = np.float32(0.25), np.float32(1 / 32)
"""Powers of two, so that each product is exact and every form of the rules rounds alike."""
SIZE = 160
"""Pixels of a side of the rendered square."""
Obs = dict[str, NDArray[np.float32]]


class Reach(gym.Env[Obs, Any]):
    """Push a point to a goal and hold it there; the reward only says whether it is there.

    ## Description
    A point slides in a square of half-width `size`, with friction, and stops at the walls. It is a small exact form of
    FetchReach (Plappert et al. 2018, "Multi-goal reinforcement learning"): random pushes meet the goal too rarely to
    learn from, unless episodes are also read as attempts at what they reached (Andrychowicz et al. 2017).

    ## Action Space
    `Box(-1, 1, (dimension,), float32)`: the push. With it the velocity v becomes v - v / 4 + push / 32, and the point
    moves by v: at most 1/8 a step.

    ## Observation Space
    `Dict`: `observation`, position and velocity, [2 dimension]; `achieved_goal`, the position, and `desired_goal`, each
    [dimension]; all float32.

    ## Rewards
    -1 per step, 0 if no coordinate of the position then differs from the goal's by more than `tolerance`.
    `compute_reward` gives it for other goals, as in Gymnasium-Robotics.

    ## Starting State
    The point rests in the middle; the goal is uniform in the square.

    ## Episode End
    Never terminated; truncated after 50 steps (the id's time limit).

    ## Arguments
    `size` (1.0), above 0; `tolerance` (0.02), from 0; `dimension` (2), 1 to 3.

    ## Version History
    * v0: first version
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 12}  # noqa: RUF012 - gymnasium's own attribute

    def __init__(
        self, size: float = 1.0, tolerance: float = 0.02, dimension: int = 2, *, render_mode: str | None = None
    ) -> None:
        if not 0 < np.float32(size) < np.inf:
            raise ValueError(f"size must be > 0 and finite, got {size}")
        if not 0 <= np.float32(tolerance) < np.inf:
            raise ValueError(f"tolerance must be >= 0 and finite, got {tolerance}")
        if dimension not in (1, 2, 3):
            raise ValueError(f"dimension must be 1, 2 or 3, got {dimension}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be None or rgb_array, got {render_mode!r}")
        self.size, self.tolerance, self.dimension = np.float32(size), np.float32(tolerance), dimension
        self.render_mode = render_mode
        self.observation_space = _space(dimension, self.size)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (dimension,), np.float32)
        self.position, self.velocity, self.goal = (np.zeros(dimension, np.float32) for _ in range(3))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        super().reset(seed=seed)
        self.position, self.velocity = (np.zeros(self.dimension, np.float32) for _ in range(2))
        self.goal = (2 * self.np_random.random(self.dimension, np.float32) - 1) * self.size
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        push = np.clip(np.asarray(action, np.float32), -1, 1)
        velocity = self.velocity - self.velocity * FRICTION + push * PUSH
        moved = self.position + velocity
        self.position = np.clip(moved, -self.size, self.size)
        self.velocity = np.where(moved == self.position, velocity, np.float32(0))
        return self._seen(), float(self.compute_reward(self.position, self.goal, {})), False, False, {}

    def compute_reward(
        self, achieved_goal: NDArray[np.float32], desired_goal: NDArray[np.float32], info: Any
    ) -> NDArray[np.float32]:
        """The reward of having reached one goal when another was desired; both [..., dimension], float32 [...]."""
        away = abs(achieved_goal - desired_goal).max(-1) > self.tolerance
        reward: NDArray[np.float32] = np.where(away, np.float32(-1), np.float32(0))
        return reward

    def compute_terminated(
        self, achieved_goal: NDArray[np.float32], desired_goal: NDArray[np.float32], info: Any
    ) -> NDArray[np.bool_]:
        """Whether the episode would have ended there: never; bool [...] for goals [..., dimension]."""
        return np.zeros(achieved_goal.shape[:-1], np.bool_)

    def _seen(self) -> Obs:
        seen = {"observation": np.concatenate([self.position, self.velocity]), "achieved_goal": self.position.copy()}
        return {**seen, "desired_goal": self.goal.copy()}

    def render(self) -> NDArray[np.uint8] | None:
        """The square, uint8 [160, 160, 3]: the goal with its tolerance green, the point orange.

        A third coordinate is how bright they are.
        """
        if self.render_mode is None:
            return None
        picture = np.full((SIZE, SIZE, 3), 24, np.uint8)
        for centre, half, colour in ((self.goal, self.tolerance, (80, 200, 120)), (self.position, 0, (245, 161, 66))):
            x, y, bright = (centre / self.size).tolist() + [0.0, 0.0, 1.0][self.dimension :]
            radius = max(SIZE / 2 * float(half / self.size), 3.0)
            across, down = (np.arange(SIZE) - SIZE / 2 * (1 + x), np.arange(SIZE) - SIZE / 2 * (1 - y))
            inside = (abs(down)[:, None] <= radius) & (abs(across) <= radius)
            picture[inside] = np.multiply(colour, 0.7 + 0.3 * bright).astype(np.uint8)
        return picture

    def snapshot(self) -> dict[str, Any]:
        """Everything that the future depends on, as plain Python values."""
        state = {name: getattr(self, name).tolist() for name in ("position", "velocity", "goal")}
        return {**state, "np_random": self.np_random.bit_generator.state}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        for name in ("position", "velocity", "goal"):
            setattr(self, name, np.array(snapshot[name], np.float32))
        self.np_random.bit_generator.state = snapshot["np_random"]


def _space(dimension: int, size: np.float32) -> gym.Space[Any]:
    """Of observations: goals are places in the square, and no velocity exceeds that at which friction equals a push."""
    fastest = np.full(dimension, PUSH / FRICTION)
    corner = np.full(dimension, size)
    around = np.concatenate([corner, fastest])
    place = gym.spaces.Box(-corner, corner, dtype=np.float32)
    parts: dict[str, gym.Space[Any]] = {"observation": gym.spaces.Box(-around, around, dtype=np.float32)}
    return gym.spaces.Dict({**parts, "achieved_goal": place, "desired_goal": place})
