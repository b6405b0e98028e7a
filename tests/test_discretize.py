"""Observations to table rows: every state its own number, bounds and bins as stated."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.agents.tabular.discretize import States
from gymnast.agents.tabular.learners import QLearning, QLearningConfig
from gymnast.envs import make


def test_discrete_start_is_taken_off() -> None:
    assert States(spaces.Discrete(3, start=-1)).index(torch.tensor([-1, 0, 1])).tolist() == [0, 1, 2]


def test_products_number_every_state_once() -> None:
    space = spaces.Tuple([spaces.Discrete(3, start=2), spaces.MultiDiscrete([2, 4]), spaces.MultiBinary(2)])
    states = States(space)
    assert states.size == 3 * 8 * 4
    grid = np.indices((3, 2, 4, 2, 2)).reshape(5, -1)
    obs: Any = {
        "0": torch.from_numpy(grid[0] + 2),
        "1": torch.from_numpy(grid[1:3].T.copy()),
        "2": torch.from_numpy(grid[3:].T.astype(np.int8)),
    }
    assert states.index(obs).tolist() == list(range(96))


def test_dict_keys_are_taken_in_the_space_s_order() -> None:
    states = States(spaces.Dict(b=spaces.Discrete(2), a=spaces.Discrete(3)))
    both: Any = {"b": torch.tensor([1]), "a": torch.tensor([2])}
    assert states.size == 6
    assert states.index(both).tolist() == [5]


def test_bins_of_a_box() -> None:
    space = spaces.Box(np.array([0.0, -np.inf], np.float32), np.array([1.0, np.inf], np.float32))
    states = States(space, bins=(4, 2), low=(0.0, -1.0), high=(1.0, 1.0))
    assert states.size == 8
    obs = torch.tensor([[0.0, -1.0], [0.24, 0.5], [0.25, -0.5], [1.0, 1.0], [-5.0, 9.0], [0.99, -9.0]])
    assert states.index(obs).tolist() == [0, 1, 2, 7, 1, 6]


def test_what_does_not_fit_is_refused_by_name() -> None:
    box = spaces.Box(-np.inf, np.inf, (2,))
    with pytest.raises(ValueError, match="no finite bounds"):
        States(box)
    with pytest.raises(ValueError, match="bins takes one number or one for each of the 2"):
        States(box, bins=(1, 2, 3), low=(0,), high=(1,))
    with pytest.raises(ValueError, match="low must be < high"):
        States(box, low=(1,), high=(1,))
    with pytest.raises(ValueError, match="bins must be >= 1"):
        States(box, bins=(0,), low=(0,), high=(1,))
    with pytest.raises(ValueError, match="a table takes at most"):
        States(spaces.Box(0, 1, (12,)))
    with pytest.raises(ValueError, match="use dqn"):
        States(spaces.Box(0, 255, (84, 84)))
    with pytest.raises(ValueError, match="got Text"):
        States(spaces.Text(3))


def test_agents_learn_from_products_and_boxes() -> None:
    for id, options in (("Blackjack-v1", {}), ("MountainCar-v0", {"bins": (8, 6)})):
        env = make(id, 3, seed=0, vectorization="serial")
        env.reset()
        agent = QLearning(env.single_observation_space, env.single_action_space, QLearningConfig(**options), num_envs=3)
        actor = agent.actor(3, explore=True, seed=0)
        for _ in range(100):
            obs, acted = env.obs, actor.act(env.obs, env.start)
            assert isinstance(env.single_action_space, gym.spaces.Discrete)
            assert all(env.single_action_space.contains(int(action)) for action in acted.action)
            agent.store(obs, acted, env.step(acted.action))
            agent.learn()
        assert agent.env_step == agent.counts.sum() == 300
        assert (agent.q != 0).any()
