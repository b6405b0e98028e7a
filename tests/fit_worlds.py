"""Tiny environments whose episodes are easy to learn from, one for each kind of action and observation."""

from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from gymnast.agents.base import Agent
from gymnast.agents.policy.actor_critic import ActorCritic
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.cli.main import main
from gymnast.storage import rebuild

LIMIT = 25


class Walk(gym.Env[Any, Any]):
    """A point that moves as the action says; far out the episode ends, and after 25 steps it is cut off."""

    observation_space: Any = spaces.Box(-10, 10, (3,), np.float32)
    action_space: Any = spaces.Discrete(3, start=5)
    far: ClassVar[float] = 2.5

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time, self.x = 0, self.np_random.normal(size=3).astype(np.float32)
        return self.shown(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.time += 1
        move = np.asarray(self.move(action), np.float32)
        reward = float(self.x[0] + 2 * move[0])
        self.x = np.float32(0.9) * self.x + move
        return self.shown(), reward, bool(self.x[2] > self.far), self.time == LIMIT, {}

    def move(self, action: Any) -> Any:
        return np.eye(3)[int(action) - 5] - 0.3

    def shown(self) -> Any:
        return np.clip(self.x, -10, 10).astype(np.float32)


class Multi(Walk):
    """Two choices, the second from 1 on."""

    action_space: Any = spaces.MultiDiscrete([2, 3], start=[0, 1])

    def move(self, action: Any) -> Any:
        return action[0] - 0.5, action[1] - 2, 0.3 * (action[0] + action[1] - 2)


class Bits(Walk):
    """Three bits."""

    action_space: Any = spaces.MultiBinary(3)

    def move(self, action: Any) -> Any:
        return np.asarray(action) - 0.5


class Push(Walk):
    """Real numbers, in a matrix."""

    action_space: Any = spaces.Box(-1, 1, (1, 3), np.float32)

    def move(self, action: Any) -> Any:
        return np.asarray(action)[0]


class Parts(Walk):
    """The observation in parts."""

    observation_space: Any = spaces.Dict({"x": Walk.observation_space, "late": spaces.Discrete(2)})

    def shown(self) -> Any:
        return {"x": super().shown(), "late": int(self.time > 10)}


class Frames(Walk):
    """The point's first two numbers as a bright square in an image of 12 x 12 pixels."""

    observation_space: Any = spaces.Box(0, 255, (12, 12, 1), np.uint8)

    def shown(self) -> Any:
        image = np.zeros((12, 12, 1), np.uint8)
        row, column = (int(np.clip(round(float(value) * 1.5 + 5), 0, 10)) for value in self.x[:2])
        image[row : row + 2, column : column + 2] = 255
        return image


class Numbered(gym.Env[Any, Any]):
    """State 40 e + t of the t-th observation of this object's e-th episode; lengths are random."""

    observation_space: Any = spaces.Discrete(2000, start=3)
    action_space: Any = spaces.Discrete(2)
    episode = -1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.time = self.episode + 1, 0
        self.length, self.cut = int(self.np_random.integers(1, 12)), bool(self.np_random.integers(2))
        return self.shown(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        ended = self.time == self.length
        return self.shown(), float(self.np_random.normal()), ended and not self.cut, ended and self.cut, {}

    def shown(self) -> Any:
        return 3 + 40 * self.episode + self.time


class NumberedVector(Numbered):
    """The same as a vector."""

    observation_space: Any = spaces.Box(0, 2000, (2,), np.float32)

    def shown(self) -> Any:
        return np.array([self.episode, self.time], np.float32)


def here(cls: type) -> str:
    """The name by which the command line finds an environment of this file."""
    return f"{__file__}:{cls.__name__}"


def record(name: str, env: str, *words: str, policy: str = "random", steps: int = 1000) -> str:
    """Record a data set; returns its name."""
    given = ["record", policy, "--env", env, "--dataset", name, *words]
    given += [] if policy == "random" else ["--trust"]
    given += [] if "--episodes" in words else ["--steps", str(steps)]
    assert main(given) == 0
    return name


def policy(cls: type[gym.Env[Any, Any]], path: Path, *, env: str | None = None, squash: bool = False) -> Agent:
    """An untrained PPO, saved at the path: some function of the observation that a network can learn."""
    agent = ActorCritic(cls.observation_space, cls.action_space, ActorCriticConfig(squash=squash), seed=2)
    head = agent.network.policy.weight
    head.data.mul_(100)  # actions that differ clearly
    rebuild.save(agent, path, env=env or here(cls))
    return agent
