"""One Gymnasium environment: its time limit, true return and length, its seeds. No torch here: workers use it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from gymnast.envs.rows import snapshot

RESEED_AFTER = 10_000
"""Actions since the last seeded reset after which the next reset is seeded, so that a replay stays short."""
EXTRAS = ("lives", "action_mask")
"""What is taken from `info`, where the first reset has it."""

Stepped = tuple[Any, float, bool, bool, "tuple[Any, ...] | None"]
"""Observation, reward, terminated, truncated, extras."""
Begun = tuple[Any, "tuple[Any, ...] | None"]
"""First observation of an episode, extras."""


class Row:
    """One environment of a batch; the caller resets it when an episode ended.

    The outermost `TimeLimit` and `OrderEnforcing` wrappers are taken off and their work is done here, exactly: a row
    counts its steps anyway, and the adapter never steps before a reset.
    """

    __slots__ = (
        "_actions",
        "_seeded",
        "_seeds",
        "_since_seed",
        "_step",
        "env",
        "episode_return",
        "extras",
        "length",
        "limit",
        "method",
        "reseeds",
        "seed",
    )

    def __init__(self, env: gym.Env[Any, Any], *, seeds: np.random.SeedSequence) -> None:
        self.method = snapshot.method(env)
        self.limit: float = float("inf")
        while type(env) in (TimeLimit, OrderEnforcing):
            if isinstance(env, TimeLimit):
                self.limit = min(self.limit, env._max_episode_steps)
            env = env.env  # type: ignore[attr-defined]
        self.env = env
        self.length = 0
        self.episode_return = 0.0
        self.extras: tuple[str, ...] = ()
        self.seed: int | None = None
        self.reseeds = 0
        self._seeds = seeds
        self._step = env.step
        self._actions: list[Any] = []

    def reset(self, seed: int | None = None, *, reseed: bool = False) -> Begun:
        """Begin an episode with a given seed, with the row's own next one (`reseed`), or without a new seed."""
        long_replay = self.method == "replay" and len(self._actions) >= RESEED_AFTER
        if seed is None and (reseed or self.seed is None or long_replay):
            key = (*self._seeds.spawn_key, self.reseeds)
            seed = int(np.random.SeedSequence(self._seeds.entropy, spawn_key=key).generate_state(1)[0])
            self.reseeds += 1
        return self._begin(seed)

    def _begin(self, seed: int | None) -> Begun:
        if seed is not None:
            self.seed = seed
            self._actions = []
        observation, info = self.env.reset(seed=seed)
        if seed is not None:
            self.extras = tuple(name for name in EXTRAS if name in info)
        self.length = 0
        self.episode_return = 0.0
        return observation, tuple(info[name] for name in self.extras) if self.extras else None

    def step(self, action: Any) -> Stepped:
        """Take one action; `length` and `episode_return` are then those of the episode so far."""
        if self.method == "replay":
            self._actions.append(action if isinstance(action, int) else action.copy())
        observation, reward, terminated, truncated, info = self._step(action)
        reward = float(reward)
        self.length += 1
        self.episode_return += reward
        if self.length >= self.limit:
            truncated = True
        extras = tuple(info[name] for name in self.extras) if self.extras else None
        return observation, reward, terminated, truncated, extras

    def snapshot(self) -> dict[str, Any]:
        """All that `restore` needs: NumPy arrays, numbers, strings, lists and dicts of them."""
        state = {
            "method": self.method,
            "length": self.length,
            "episode_return": self.episode_return,
            "seed": self.seed,
            "reseeds": self.reseeds,
            "extras": list(self.extras),
        }
        if self.method == "replay":
            return {**state, "actions": np.array(self._actions)}
        return {**state, "env": snapshot.take(self.env)}

    def restore(self, state: dict[str, Any]) -> Any:
        """Bring back a snapshot of an equally built environment; the observation where it was replayed, else None."""
        if state["method"] != self.method:
            raise ValueError(
                f"a snapshot made by {state['method']} cannot restore an environment that uses {self.method}"
            )
        self.reseeds = state["reseeds"]
        self.seed = state["seed"]
        self.extras = tuple(state["extras"])
        if self.method == "replay":
            return self._replay(state["seed"], list(state["actions"]))
        snapshot.put_back(self.env, state["env"])
        self.length = state["length"]
        self.episode_return = state["episode_return"]
        return None

    def _replay(self, seed: int, actions: list[Any]) -> Any:
        observation, _ = self._begin(seed)
        for action in actions:
            action = int(action) if np.ndim(action) == 0 else action
            observation, _, terminated, truncated, _ = self.step(action)
            if terminated or truncated:
                observation, _ = self._begin(None)
        return observation
