"""What `gymnast evaluate --against-optimal` says, against hand-solved problems."""

import numpy as np
import pytest

from gymnast.agents import DQN, DQNConfig, QLearning, QLearningConfig, UCBConfig
from gymnast.agents.tabular.bandits import UCB
from gymnast.agents.tabular.learners import TD, TDConfig
from gymnast.envs import TransitionTable, make
from gymnast.tabular.optimal import against_optimal, bandit_regret, reachable
from gymnast.training.loop import Loop


def learner(values: np.ndarray) -> QLearning:
    env = make("gymnast/Chain-v0", options={"length": 3})
    agent = QLearning(env.single_observation_space, env.single_action_space, QLearningConfig(gamma=0.9))
    agent.q[0] = values
    return agent


def test_the_far_end_of_a_chain() -> None:
    env = make("gymnast/Chain-v0", options={"length": 3})
    right = np.array([[0.0, 0.81], [0.729, 0.9], [0.81, 1.0]])
    found = against_optimal(learner(right), env, horizon=100)
    assert (found["exact_return"], found["optimal_return"]) == (1.0, 1.0)
    assert found["optimal_actions"] == "3 of 3 states that the policy reaches"
    assert found["largest_value_error"] == pytest.approx(0.0, abs=1e-9)
    assert against_optimal(learner(right), env, horizon=2)["exact_return"] == 0.0  # three steps are needed
    left = against_optimal(learner(right[:, ::-1]), env, horizon=100)
    assert left["exact_return"] == pytest.approx(0.1)
    assert left["optimal_actions"] == "0 of 1 states that the policy reaches"


def test_prediction_is_compared_with_its_policy() -> None:
    env = make("gymnast/Chain-v0", options={"length": 1})
    agent = TD(env.single_observation_space, env.single_action_space, TDConfig(gamma=0.9))
    agent.q[0, 0, 0] = 0.5
    # One state, both actions end: the uniform policy is worth (0.1 + 1) / 2.
    assert against_optimal(agent, env, horizon=10)["largest_value_error"] == pytest.approx(0.05)


def test_reachable_follows_the_policy_and_stops_at_the_end() -> None:
    next_state = np.array([[[1], [2]], [[1], [3]], [[2], [2]], [[3], [3]]])
    terminated = np.zeros((4, 2, 1), np.bool_)
    table = TransitionTable(
        np.ones((4, 2, 1)), next_state, np.zeros((4, 2, 1)), terminated, np.array([1.0, 0, 0, 0]), None
    )
    policy = np.array([0, 1, 0, 0])
    assert reachable(table, policy).tolist() == [True, True, False, True]
    terminated[1, 1] = True
    assert reachable(table, policy).tolist() == [True, True, False, False]


def test_what_cannot_be_compared_is_named() -> None:
    env = make("CartPole-v1")
    agent = DQN(env.single_observation_space, env.single_action_space, DQNConfig(hidden_sizes=(8,)))
    with pytest.raises(ValueError, match="known transition table, but CartPole-v1 has none"):
        against_optimal(agent, env, horizon=10)
    env = make("FrozenLake-v1")
    agent = DQN(env.single_observation_space, env.single_action_space, DQNConfig(hidden_sizes=(8,)))
    with pytest.raises(ValueError, match="a table of values"):
        against_optimal(agent, env, horizon=10)


def test_regret_is_the_gap_summed_over_pulls() -> None:
    env = make("gymnast/Bandit-v0", options={"means": [0.0, 1.0, 0.5]})
    agent = UCB(env.single_observation_space, env.single_action_space, UCBConfig())
    env.reset()
    Loop(agent, agent.actor(1, explore=True, seed=0), env).advance(50, lambda: False)
    pulls = agent.counts[0]
    assert pulls.sum() == 50
    assert bandit_regret(agent, env) == {"regret": pytest.approx(pulls[0] * 1.0 + pulls[2] * 0.5)}
    assert bandit_regret(agent, make("CartPole-v1")) == {}
