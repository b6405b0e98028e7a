"""The last frames of an image environment as one observation. No torch here: workers use it."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from gymnast.envs.rows.incoming import BadValue


class StackFrames(gym.Wrapper[Any, Any, Any, Any]):
    """Observations [K, H, W] of grey images, else [K, H, W, C] or [K, C, H, W]: the last K frames, newest last.

    Frames from before the episode are black, as in Atari games here: in training, evaluation and
    replays, an observation never contains frames of an earlier episode.

    Raises:
        ValueError: the observations are not uint8 images [H, W], [H, W, C] or [C, H, W].
    """

    def __init__(self, env: gym.Env[Any, Any], count: int) -> None:
        super().__init__(env)
        space = env.observation_space
        if not isinstance(space, spaces.Box) or space.dtype != np.uint8 or len(space.shape) not in (2, 3):
            raise ValueError(f"frame_stack needs images, uint8 [H, W], [H, W, C] or [C, H, W], got {space}")
        grey = len(space.shape) == 3 and 1 in (space.shape[0], space.shape[2])
        self._shape = (space.shape[1:] if space.shape[0] == 1 else space.shape[:2]) if grey else space.shape
        low, high = (np.stack([bound.reshape(self._shape)] * count) for bound in (space.low, space.high))
        self.observation_space = spaces.Box(np.minimum(low, 0), high, dtype=np.uint8)
        self._frames: deque[np.ndarray] = deque(maxlen=count)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        count = self._frames.maxlen or 0
        self._frames.extend([np.zeros(self._shape, np.uint8)] * (count - 1))
        return self._stacked(observation), info

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._stacked(observation), reward, terminated, truncated, info

    def _stacked(self, observation: Any) -> np.ndarray:
        frame = np.array(observation)  # a copy: the environment may write its own again
        if frame.dtype != np.uint8 or frame.size != math.prod(self._shape):
            raise BadValue(f"gave an observation of {frame.dtype} {list(frame.shape)} but its space has uint8 images")
        self._frames.append(frame.reshape(self._shape))
        return np.stack(self._frames)
