"""Bandit agents: choices by hand, posteriors, and regret that grows slowly."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from gymnast.agents.tabular.bandits import UCB, Thompson, ThompsonConfig, UCBConfig
from gymnast.envs import make


def build(agent_class: Any, config: Any, arms: int = 3) -> Any:
    return agent_class(gym.spaces.Discrete(1), gym.spaces.Discrete(arms), config)


def test_ucb_by_hand() -> None:
    agent = build(UCB, UCBConfig(c=1.0))
    rng = np.random.default_rng(0)
    agent.pulls[:] = [4, 0, 2]
    assert agent.choose(rng) == 1  # never pulled
    agent.pulls[:], agent.sums[:] = [4, 2, 2], [2.0, 1.2, 0.8]
    # means 0.5, 0.6, 0.4 and widths sqrt(ln 8 / n) = 0.721, 1.020, 1.020
    assert agent.choose(rng) == 1
    agent.pulls[:] = [4, 200, 2]
    agent.sums[:] = [2.0, 120.0, 0.8]
    assert agent.choose(rng) == 2  # 0.4 + sqrt(ln 206 / 2) = 2.03 beats 0.5 + 1.15 and 0.6 + 0.16
    assert 0.4 + math.sqrt(math.log(206) / 2) > 0.5 + math.sqrt(math.log(206) / 4)


def test_thompson_posteriors() -> None:
    rng = np.random.default_rng(1)
    agent = build(Thompson, ThompsonConfig(prior_std=2.0, reward_std=1.0), arms=2)
    agent.pulls[:], agent.sums[:] = [3, 1], [3.0, 0.5]
    # posteriors N(3 / 3.25, 1 / 3.25) and N(0.5 / 1.25, 1 / 1.25): P(first is best) = Phi(0.523 / 1.052)
    gap, spread = 3 / 3.25 - 0.5 / 1.25, math.sqrt(1 / 3.25 + 1 / 1.25)
    expected = 0.5 * (1 + math.erf(gap / spread / math.sqrt(2)))
    share = np.mean([agent.choose(rng) == 0 for _ in range(20_000)])
    assert share == pytest.approx(expected, abs=0.015)
    agent = build(Thompson, ThompsonConfig(posterior="beta"), arms=2)
    agent.pulls[:], agent.sums[:] = [1, 1], [1.0, 0.0]
    # Beta(2, 1) against Beta(1, 2): P(first is best) = 5 / 6
    assert np.mean([agent.choose(rng) == 0 for _ in range(20_000)]) == pytest.approx(5 / 6, abs=0.015)


@pytest.mark.parametrize(
    ("agent_class", "config", "kind"),
    [
        (UCB, UCBConfig(), "bernoulli"),
        (Thompson, ThompsonConfig(posterior="beta"), "bernoulli"),
        (UCB, UCBConfig(c=2.0), "gaussian"),
        (Thompson, ThompsonConfig(), "gaussian"),
    ],
)
def test_regret_is_small(agent_class: Any, config: Any, kind: str) -> None:
    means = [0.1, 0.5, 0.9]
    env = make("gymnast/Bandit-v0", 2, seed=0, options={"kind": kind, "means": means}, vectorization="serial")
    env.reset()
    agent = agent_class(env.single_observation_space, env.single_action_space, config, num_envs=2)
    actor = agent.actor(2, explore=True, seed=1)
    for _ in range(1000):
        acted = actor.act(env.obs, env.start)
        agent.store(env.obs, acted, env.step(acted.action))
    assert agent.env_step == agent.counts.sum() == 2000
    lost = (agent.counts * [0.8, 0.4, 0.0]).sum()
    assert lost < 0.1 * 2000 * 0.4  # pulling at random loses 0.4 a pull
    greedy = agent.actor(2, explore=False, seed=0)
    assert greedy.act(env.obs, env.start).action.tolist() == [2, 2]
    other = build(agent_class, config)
    other.load_state_dict(agent.state_dict())
    np.testing.assert_array_equal(other.q_table(), agent.q_table())


def test_first_action_is_honoured() -> None:
    agent = UCB(gym.spaces.Discrete(1), gym.spaces.Discrete(2, start=5), UCBConfig())
    action = agent.actor(4, explore=True, seed=0).act(torch.zeros(4, dtype=torch.int64), torch.ones(4).bool()).action
    assert set(action.tolist()) <= {5, 6}


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="one state"):
        UCB(gym.spaces.Discrete(2), gym.spaces.Discrete(2), UCBConfig())
    with pytest.raises(ValueError, match="Discrete actions"):
        UCB(gym.spaces.Discrete(1), gym.spaces.Box(0, 1), UCBConfig())
    with pytest.raises(ValueError, match="prior_std must be > 0"):
        ThompsonConfig(prior_std=0.0)
    env = make("gymnast/Bandit-v0", seed=0, vectorization="serial")
    env.reset()
    agent = Thompson(env.single_observation_space, env.single_action_space, ThompsonConfig(posterior="beta"))
    acted = agent.actor(1, explore=True, seed=0).act(env.obs, env.start)
    with pytest.raises(ValueError, match="rewards 0 and 1"):
        agent.store(env.obs, acted, env.step(acted.action))
