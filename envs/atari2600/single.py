"""One game as a `gym.Env`: a row of the vector environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from gymnast.envs.atari2600.vector import AtariVectorEnv, Infos


class AtariEnv(gym.Env[np.ndarray, np.int64]):
    """A console with a game; the options are those of `AtariVectorEnv`, and a seed gives the same episodes there."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012

    def __init__(self, game: str = "pong", *, render_mode: str | None = None, **options: Any) -> None:
        self._rows = AtariVectorEnv(game, 1, render_mode=render_mode, **options)
        self.metadata, self.render_mode = {**self.metadata, **self._rows.metadata}, render_mode
        self.observation_space = self._rows.single_observation_space
        self.action_space = self._rows.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, Infos]:
        """A new episode; with a seed, on a new console."""
        super().reset(seed=seed)
        obs, infos = self._rows.reset(seed=seed)
        return obs[0], _first(infos)

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, Infos]:
        """Take an action, an index into the action set."""
        obs, reward, terminated, truncated, infos = self._rows.step(np.array([action]))
        return obs[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), _first(infos)

    def render(self) -> np.ndarray:
        """The last frame in true colours, uint8 [210, 160, 3]."""
        return self._rows.render()[0]

    def snapshot(self) -> dict[str, Any]:
        """All that the future depends on."""
        return self._rows.snapshot()

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot of the same game."""
        self._rows.restore(snapshot)


def _first(infos: Infos) -> Infos:
    return {name: int(values[0]) for name, values in infos.items()}
