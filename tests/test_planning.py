"""Planning against values solved by hand and against each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gymnast.agents.tabular.dynamic_programming import (
    evaluate_policy,
    greedy_policy,
    optimal_q,
    optimal_stages,
    solve,
    success_probability,
)
from gymnast.agents.tabular.planning import PolicyIteration, PolicyIterationConfig, ValueIteration, ValueIterationConfig
from gymnast.envs import make
from gymnast.envs.step import TransitionTable

GAMMA = 0.9


def table_of(id: str, **options: Any) -> TransitionTable:
    env = make(id, options=options, vectorization="serial")
    table = env.transition_table()
    assert table is not None
    env.close()
    return table


def planned(agent_class: Any, config: Any, id: str) -> Any:
    env = make(id, vectorization="serial")
    agent = agent_class(env.single_observation_space, env.single_action_space, config)
    sweeps = list(agent.plan(env.transition_table()))
    assert [item["sweep"] for item in sweeps] == list(range(1, len(sweeps) + 1))
    assert agent.updates == len(sweeps)
    return agent


def test_chain_by_hand() -> None:
    # five states: right in the last one pays 1, left in the first one 0.1; right is worth 0.9**4 = 0.6561 from state 0
    q = optimal_q(table_of("gymnast/Chain-v0"), GAMMA)
    values = [0.9**4, 0.9**3, 0.9**2, 0.9, 1.0]
    np.testing.assert_allclose(q[:, 1], values, atol=1e-9)
    np.testing.assert_allclose(q[:, 0], [0.1, *(0.9 * value for value in values[:-1])], atol=1e-9)


def test_finite_horizon_by_hand() -> None:
    # with four steps the right end, five steps away, is out of reach from state 0: take the 0.1 now
    q = optimal_stages(table_of("gymnast/Chain-v0"), 1.0, horizon=4)
    assert q.shape == (4, 5, 2)
    np.testing.assert_array_equal(optimal_q(table_of("gymnast/Chain-v0"), 1.0, horizon=4), q[0])
    np.testing.assert_allclose(q[0, 0], [0.1, 0.1])  # right, then back to the left end: 0.1 still
    np.testing.assert_allclose(q[0, 1], [0.1, 1.0])
    np.testing.assert_allclose(q[3, :, 1], [0, 0, 0, 0, 1.0])  # the last step
    agent = planned(ValueIteration, ValueIterationConfig(gamma=1.0, horizon=4), "gymnast/Chain-v0")
    np.testing.assert_array_equal(agent.q_table(), q)


@pytest.mark.parametrize("id", ["FrozenLake-v1", "CliffWalking-v1", "Taxi-v4"])
def test_all_planners_agree(id: str) -> None:
    expected = optimal_q(table_of(id), 0.95)
    for agent_class, config in (
        (ValueIteration, ValueIterationConfig(gamma=0.95)),
        (ValueIteration, ValueIterationConfig(gamma=0.95, iterate="q-values")),
        (PolicyIteration, PolicyIterationConfig(gamma=0.95)),
        (PolicyIteration, PolicyIterationConfig(gamma=0.95, evaluation="iterative")),
    ):
        np.testing.assert_allclose(planned(agent_class, config, id).q_table(), expected, atol=1e-7)


def test_policy_iteration_needs_no_discount_where_episodes_end() -> None:
    agent = planned(PolicyIteration, PolicyIterationConfig(gamma=1.0), "CliffWalking-v1")
    assert agent.q_table()[36].max() == pytest.approx(-13.0)


def test_evaluation_of_a_policy() -> None:
    table = table_of("gymnast/Chain-v0")
    right = np.ones(5, np.int64)
    np.testing.assert_allclose(evaluate_policy(table, right, gamma=GAMMA), 0.9 ** np.arange(4, -1, -1))
    assert success_probability(table, right) == pytest.approx(1.0)
    assert evaluate_policy(table, right, gamma=1.0, horizon=5)[0] == pytest.approx(1.0)
    assert evaluate_policy(table, right, gamma=1.0, horizon=4)[0] == 0.0
    assert success_probability(table, right, horizon=4) == 0.0
    # a fair coin from state 0 reaches the right end before the left one with probability 1/6 (gambler's ruin)
    coin = np.full((5, 2), 0.5)
    assert evaluate_policy(table, coin, gamma=1.0)[0] == pytest.approx(1 / 6 + 0.1 * 5 / 6)
    stages = np.stack([right, np.zeros(5, np.int64)])  # right, then left
    np.testing.assert_allclose(evaluate_policy(table, stages, gamma=1.0, horizon=2), [0, 0, 0, 0, 1.0])


def test_evaluation_equals_sampling() -> None:
    table = table_of("FrozenLake-v1")
    policy = greedy_policy(optimal_q(table, 0.99))
    success = success_probability(table, policy, horizon=100)
    rng = np.random.default_rng(0)
    wins, episodes = 0, 2000
    for _ in range(episodes):
        state, steps, ended = int(table.initial.argmax()), 0, False
        while not ended and steps < 100:
            action = int(policy[state].argmax())
            pick = rng.choice(len(table.probability[state, action]), p=table.probability[state, action])
            wins += table.reward[state, action, pick] > 0
            ended, state = table.terminated[state, action, pick], int(table.next_state[state, action, pick])
            steps += 1
    assert success == pytest.approx(wins / episodes, abs=4 * np.sqrt(0.25 / episodes))
    assert success == pytest.approx(table.initial @ evaluate_policy(table, policy, gamma=1.0, horizon=100))


def test_endless_policy_has_no_value() -> None:
    table = table_of("CliffWalking-v1")
    into_the_wall = np.tile([0.0, 0.0, 0.0, 1.0], (48, 1))
    with pytest.raises(ValueError, match="forever"):
        evaluate_policy(table, into_the_wall, gamma=1.0)
    assert solve(np.eye(1), np.zeros(1), 1.0) == 0.0


@pytest.mark.parametrize("id", ["CliffWalking-v1", "Taxi-v4"])
def test_planner_acts_optimally(id: str) -> None:
    agent = planned(ValueIteration, ValueIterationConfig(gamma=0.99), id)
    env = make(id, 4, seed=0, vectorization="serial")
    env.reset(episode_seeds=range(20))
    actor = agent.actor(4, explore=False, seed=0)
    returns: list[float] = []
    table = table_of(id)
    best = table.initial @ evaluate_policy(table, greedy_policy(agent.q_table()), gamma=1.0, horizon=200)
    while len(returns) < 20:
        acted = actor.act(env.obs, env.start)
        step = env.step(acted.action)
        agent.store(env.obs, acted, step)
        returns += [step.episode_return[row].item() for row in step.ended.nonzero().flatten().tolist()]  # type: ignore[index]
    if id == "CliffWalking-v1":
        assert returns == [-13.0] * len(returns)
    assert np.mean(returns) == pytest.approx(best, abs=2.5)
    assert agent.updates_due(agent.env_step) == 0


def test_state_round_trip_and_errors() -> None:
    agent = planned(ValueIteration, ValueIterationConfig(), "FrozenLake-v1")
    other = ValueIteration(agent.observation_space, agent.action_space, ValueIterationConfig())
    other.load_state_dict(agent.state_dict())
    assert torch.equal(other.state_dict()["q"], agent.state_dict()["q"])
    stages = ValueIteration(agent.observation_space, agent.action_space, ValueIterationConfig(horizon=2))
    with pytest.raises(ValueError, match="shape"):
        stages.load_state_dict(agent.state_dict())
    with pytest.raises(ValueError, match="horizon must be >= 1"):
        ValueIterationConfig(horizon=0)
    with pytest.raises(ValueError, match="gamma must be"):
        PolicyIterationConfig(gamma=float("nan"))
    with pytest.raises(ValueError, match="evaluation must be"):
        PolicyIterationConfig(evaluation="rough")  # type: ignore[arg-type]


def test_a_long_horizon_is_no_long_wait() -> None:
    table = table_of("gymnast/Chain-v0")
    right = np.ones(5, np.int64)
    near = evaluate_policy(table, right, gamma=0.999, horizon=10_000)
    np.testing.assert_allclose(evaluate_policy(table, right, gamma=0.999, horizon=10_001), near)
    np.testing.assert_allclose(evaluate_policy(table, right, gamma=1.0, horizon=10**20), np.ones(5))
