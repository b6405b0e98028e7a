"""Evaluation over N environments is that of one, and not biased towards short episodes (row 23)."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from gymnast.agents import QLearning, QLearningConfig
from gymnast.agents.base import Acted
from gymnast.envs import make
from gymnast.evaluation import STEP_LIMIT, episode_seeds, evaluate, make_env, time_limit


class SeededLength(gym.Env):
    """An episode lasts 1 or 50 steps of reward 1, as its seed says: taking what ends first would find only ones."""

    observation_space, action_space = Box(0.0, 1.0, (1,), np.float32), Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.left = 50 if self.np_random.random() < 0.5 else 1
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.left -= 1
        return np.zeros(1, np.float32), 1.0, self.left == 0, False, {}


class Constant:
    """An agent that always takes action 0."""

    env_step = 0

    def actor(self, num_envs: int, *, explore: bool, seed: Any) -> Any:
        assert not explore
        return self

    def act(self, obs: Any, start: torch.Tensor, action_mask: Any = None) -> Acted:
        return Acted(torch.zeros(len(start), dtype=torch.int64))


def test_any_number_of_environments_gives_the_same_episodes() -> None:
    env = make("FrozenLake-v1", seed=0)
    agent = QLearning(env.single_observation_space, env.single_action_space, QLearningConfig())
    agent.q[0] = np.random.default_rng(0).random(agent.q[0].shape)
    one, three, eight = (evaluate(agent, "FrozenLake-v1", episodes=20, num_envs=n, seed=5) for n in (1, 3, 8))
    assert one == three == eight
    assert one.mean_return == eight.mean_return
    assert len(set(one.lengths)) > 3
    assert evaluate(agent, "FrozenLake-v1", episodes=20, num_envs=8, seed=6).lengths != one.lengths


def test_long_episodes_count_as_much_as_short_ones() -> None:
    results = [evaluate(Constant(), SeededLength, episodes=30, num_envs=n, seed=1) for n in (1, 8)]
    assert results[0].returns == results[1].returns
    truth = [50.0 if np.random.default_rng(seed).random() < 0.5 else 1.0 for seed in episode_seeds(1, 30)]
    assert list(results[0].returns) == truth
    assert results[0].lengths == tuple(int(value) for value in truth)


def test_without_seeded_episodes_each_row_plays_its_share() -> None:
    env = make(gym.vector.SyncVectorEnv([SeededLength] * 4), seed=3)
    assert not env.seeds_episodes
    results = evaluate(Constant(), env, episodes=400, seed=0)
    # By chance half of them are long: taking the first 400 that end would find some 4 % of long ones.
    assert 0.4 < np.mean(np.array(results.lengths) == 50) < 0.6
    env.close()


def test_short_evaluations_are_the_beginning_of_longer_ones() -> None:
    assert episode_seeds(7, 3) == episode_seeds(7, 10)[:3]
    assert len(set(episode_seeds(7, 100))) == 100


def test_an_endless_episode_is_cut() -> None:
    assert (time_limit("CartPole-v1"), time_limit("CliffWalking-v1")) == (500, STEP_LIMIT)
    env = make_env("CliffWalking-v1", 1, max_episode_steps=30)
    result = evaluate(Constant(), env, episodes=1)  # action 0 goes up, into the wall, for ever
    assert (result.returns, result.lengths) == ((-30.0,), (30,))
    env.close()


def test_statistics_by_hand() -> None:
    found = evaluate(Constant(), SeededLength, episodes=4, seed=1).as_json()
    returns = np.array([50.0 if np.random.default_rng(seed).random() < 0.5 else 1.0 for seed in episode_seeds(1, 4)])
    assert found["mean_return"] == returns.mean()
    assert found["std_return"] == pytest.approx(returns.std())
    assert (found["min_return"], found["max_return"]) == (returns.min(), returns.max())
    assert (found["episodes"], found["env_steps"], found["seed"]) == (4, int(returns.sum()), 1)
    assert found["median_return"] == np.median(returns)


def test_no_episodes_are_refused() -> None:
    with pytest.raises(ValueError, match="episodes must be >= 1, got 0"):
        evaluate(Constant(), SeededLength, episodes=0)
