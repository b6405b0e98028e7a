"""What tabular agents learn, against planning: exact returns on the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gymnast.agents.tabular import learners
from gymnast.agents.tabular.dynamic_programming import backup, evaluate_policy, optimal_q, success_probability
from gymnast.envs import make
from gymnast.tabular import loop


def learned(name: str, id: str, *, steps: int, seed: int = 0, num_envs: int = 1, **config: Any) -> tuple[Any, Any]:
    """An agent trained by the compiled loop, and the environment's table."""
    env = make(id, num_envs, seed=seed, vectorization="serial")
    env.reset()
    options = getattr(learners, f"{name}Config")(**config)
    agent = getattr(learners, name)(
        env.single_observation_space, env.single_action_space, options, num_envs=num_envs, seed=seed
    )
    loop.run(agent, agent.actor(num_envs, explore=True, seed=seed), env, steps=steps)
    return agent, env.transition_table()


def greedy_return(agent: Any, table: Any) -> float:
    values = evaluate_policy(table, agent.q_table().argmax(1), gamma=1.0, horizon=200)
    return float(table.initial @ values)


@pytest.mark.parametrize("num_envs", [1, 8])
def test_q_learning_is_optimal_on_taxi(num_envs: int) -> None:
    agent, table = learned("QLearning", "Taxi-v4", steps=3_000_000, num_envs=num_envs, alpha=0.5)
    best = evaluate_policy(table, optimal_q(table, 0.99).argmax(1), gamma=1.0, horizon=200)
    assert greedy_return(agent, table) == pytest.approx(table.initial @ best, abs=1e-9)


def test_q_learning_walks_along_the_cliff() -> None:
    agent, table = learned("QLearning", "CliffWalking-v1", steps=200_000)
    assert greedy_return(agent, table) == -13.0


def test_q_learning_equals_planning_where_nothing_is_random() -> None:
    agent, table = learned("QLearning", "CliffWalking-v1", steps=1_000_000, alpha=0.5, epsilon=1.0, gamma=0.9)
    visited = agent.counts > 0
    np.testing.assert_allclose(agent.q_table()[visited], optimal_q(table, 0.9)[visited], atol=1e-9)


def test_frozen_lake_within_two_percent() -> None:
    for seed in range(3):
        agent, table = learned(
            "QLearning", "FrozenLake-v1", steps=2_000_000, seed=seed, alpha="linear:0.1:0.001:2000000", epsilon=0.5
        )
        best = success_probability(table, optimal_q(table, 0.99).argmax(1), horizon=100)
        assert success_probability(table, agent.q_table().argmax(1), horizon=100) >= 0.98 * best


@pytest.mark.slow
def test_sarsa_takes_the_safe_path_and_earns_more_while_exploring() -> None:
    exploring = {}
    for name, greedy in (("Sarsa", -17.0), ("QLearning", -13.0)):
        for seed in range(3):
            config = {"alpha": "inverse:0.5:20000", "epsilon": 0.1, "gamma": 1.0}
            agent, table = learned(name, "CliffWalking-v1", steps=500_000, seed=seed, **config)
            assert greedy_return(agent, table) == greedy
        env = make("CliffWalking-v1", seed=1, vectorization="serial")
        env.reset()
        ended = loop.run(agent, agent.actor(1, explore=True, seed=1), env, steps=100_000)
        exploring[name] = ended.returns.mean()
    assert exploring["Sarsa"] > exploring["QLearning"] + 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "config"),
    [("ExpectedSarsa", {}), ("DoubleQLearning", {}), ("NStepSarsa", {"n_step": 3}), ("Sarsa", {"trace_decay": 0.8})],
)
def test_the_others_solve_the_chain(name: str, config: dict[str, Any]) -> None:
    agent, table = learned(name, "gymnast/Chain-v0", steps=20_000, epsilon="linear:1:0.1:10000", **config)
    assert greedy_return(agent, table) == 1.0


@pytest.mark.slow
def test_td_finds_the_values_of_the_uniform_policy() -> None:
    config = {"alpha": "linear:0.1:0.0005:3000000", "gamma": 0.9}
    agent, table = learned("TD", "FrozenLake-v1", steps=3_000_000, **config)
    truth = evaluate_policy(table, np.full((16, 4), 0.25), gamma=0.9)
    np.testing.assert_allclose(agent.value_table(), truth, atol=0.01)


@pytest.mark.slow
def test_finite_horizon_equals_backward_induction() -> None:
    config = {"objective": "finite-horizon", "horizon": 4, "gamma": 1.0, "alpha": 0.5, "epsilon": 1.0}
    agent, table = learned("QLearning", "gymnast/Chain-v0", steps=300_000, **config)
    values = np.zeros(5)
    for step in reversed(range(4)):
        q = backup(table, values, 1.0)
        visited = agent.counts.reshape(4, 5, 2)[step] > 0
        np.testing.assert_allclose(agent.q_table()[step][visited], q[visited], atol=1e-9)
        values = q.max(1)


@pytest.mark.slow
def test_average_reward_of_the_chain() -> None:
    # walking right pays 1 every 5 steps
    config = {"objective": "average-reward", "alpha": 0.05, "epsilon": 1.0, "average_step": 0.05}
    agent, _ = learned("QLearning", "gymnast/Chain-v0", steps=1_000_000, **config)
    assert agent.q_table().argmax(1).tolist() == [1] * 5
    assert agent.average[0] == pytest.approx(0.2, abs=0.01)  # off-policy: of the greedy policy, not of the random walk
    np.testing.assert_allclose(np.diff(agent.q_table().max(1)), 0.2, atol=0.02)  # a step further saves one of them
