"""The compiled loop against the plain one: bit for bit the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gymnast.agents.tabular import dyna, learners
from gymnast.envs import make
from gymnast.tabular import loop

STEPS = 700


def plain(agent: Any, actor: Any, env: Any, vector_steps: int) -> tuple[list[float], list[int], list[int], Any]:
    """The loop that the compiled one stands for."""
    returns: list[float] = []
    lengths: list[int] = []
    ended: list[int] = []
    metrics: Any = {}
    obs, start, mask = env.obs, env.start, env.action_mask
    for _ in range(vector_steps):
        acted = actor.act(obs, start, mask)
        step = env.step(acted.action)
        agent.store(obs, acted, step)
        metrics = agent.learn()
        for row in step.ended.nonzero().flatten().tolist():
            returns.append(step.episode_return[row].item())
            lengths.append(step.episode_length[row].item())
            ended.append(agent.env_step)
        obs, start, mask = step.obs, step.start, step.action_mask
    return returns, lengths, ended, metrics


def same(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    return type(left) is type(right) and left == right


def build(name: str, id: str, num_envs: int, **config: Any) -> tuple[Any, Any, Any]:
    env = make(id, num_envs, seed=5, vectorization="serial")
    env.reset()
    home = dyna if hasattr(dyna, name) else learners
    options = getattr(home, f"{name}Config")(**config)
    agent = getattr(home, name)(
        env.single_observation_space, env.single_action_space, options, num_envs=num_envs, seed=3
    )
    return agent, agent.actor(num_envs, explore=True, seed=4), env


def check(name: str, id: str, num_envs: int, **config: Any) -> None:
    agent, actor, env = build(name, id, num_envs, **config)
    returns, lengths, ended, metrics = plain(agent, actor, env, STEPS)
    other, other_actor, other_env = build(name, id, num_envs, **config)
    assert loop.supports(other, other_env)
    parts = [loop.run(other, other_actor, other_env, steps=count * num_envs) for count in (1, 333, STEPS - 334)]
    assert [value for part in parts for value in part.returns.tolist()] == returns
    assert [value for part in parts for value in part.lengths.tolist()] == lengths
    assert [value for part in parts for value in part.env_steps.tolist()] == ended
    assert same(parts[-1].metrics, metrics)
    assert same(other.state_dict(), agent.state_dict())
    assert same(other_actor.state_dict(), actor.state_dict())
    assert same(other_env.snapshot(), env.snapshot())
    assert agent.updates == STEPS
    # and the plain loop goes on from where the compiled one stopped
    assert plain(other, other_actor, other_env, 50) == plain(agent, actor, env, 50)
    assert same(other.state_dict(), agent.state_dict())


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("id", ["Taxi-v4", "FrozenLake-v1", "CliffWalking-v1"])
def test_q_learning(id: str, num_envs: int) -> None:
    check("QLearning", id, num_envs, epsilon="linear:1:0.1:500")


MORE: list[tuple[str, dict[str, Any]]] = [
    ("QLearning", {"exploration": "ucb"}),
    ("QLearning", {"exploration": "greedy", "initial_q": 1.0}),
    ("QLearning", {"trace_decay": 0.8}),
    ("QLearning", {"objective": "average-reward"}),
    ("Sarsa", {}),
    ("Sarsa", {"objective": "average-reward", "exploration": "boltzmann"}),
    ("Sarsa", {"objective": "finite-horizon", "horizon": 30}),
    ("ExpectedSarsa", {}),
    ("ExpectedSarsa", {"exploration": "boltzmann"}),
    ("TD", {"trace_decay": 0.5}),
    ("DynaQ", {"planning_steps": 3}),
    ("DynaQ", {"action_masks": False, "time_bonus": 0.01}),
    ("DynaQ", {"objective": "finite-horizon", "horizon": 20, "time_bonus": 0.1}),
    ("PrioritizedSweeping", {"alpha": 0.5, "action_masks": False, "threshold": 0.0}),
    ("PrioritizedSweeping", {"objective": "finite-horizon", "horizon": 20, "model_outcomes": 1}),
]
"""Further combinations, each of which compiles a loop of its own."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("QLearning", {"action_masks": False, "ties": "first"}),
        ("QLearning", {"exploration": "boltzmann", "temperature": "exponential:2:0.1:0.999"}),
        ("QLearning", {"exploration": "count", "bootstrap_bonus": True, "kappa": 2.0}),
        ("QLearning", {"objective": "finite-horizon", "horizon": 20, "gamma": 1.0}),
        ("Sarsa", {"trace_decay": 0.9, "trace": "accumulating"}),
        ("ExpectedSarsa", {"exploration": "ucb"}),
        ("DoubleQLearning", {"alpha": "inverse:0.5:100"}),
        ("NStepSarsa", {"n_step": 3}),
        ("TD", {}),
        ("DynaQ", {"planning_steps": 2, "time_bonus": 0.01, "model_outcomes": 3}),
        ("PrioritizedSweeping", {}),
        *(pytest.param(*each, marks=pytest.mark.long) for each in MORE),
    ],
)
def test_every_agent(name: str, config: dict[str, Any]) -> None:
    check(name, "Taxi-v4", 3, **config)


@pytest.mark.long
@pytest.mark.parametrize("name", ["Sarsa", "DoubleQLearning", "TD"])
def test_without_action_masks(name: str) -> None:
    check(name, "FrozenLake-v1", 1)


@pytest.mark.slow
@pytest.mark.parametrize("id", [pytest.param("FrozenLake-v1", marks=pytest.mark.long), "gymnast/DynaMaze-v0"])
@pytest.mark.parametrize("name", ["DynaQ", "PrioritizedSweeping"])
def test_planning(name: str, id: str) -> None:
    check(name, id, 2, model_outcomes=5)


@pytest.mark.slow
def test_chain_draws_nothing() -> None:
    check("Sarsa", "gymnast/Chain-v0", 2)


def test_a_maze_that_changes_has_no_table() -> None:
    env = make("gymnast/DynaMaze-v0", 1, options={"maze": "blocking"}, vectorization="serial")
    assert env.transition_table() is None


def test_what_is_not_supported() -> None:
    agent, _, env = build("QLearning", "Taxi-v4", 1, exploration="thompson")
    assert not loop.supports(agent, env)
    agent, _, env = build("QLearning", "Blackjack-v1", 1)
    assert not loop.supports(agent, env)
    agent, _, env = build("QLearning", "FrozenLake-v1", 1)
    assert loop.supports(agent, env)
    with pytest.raises(ValueError, match="explores"):
        loop.run(agent, agent.actor(1, explore=False, seed=0), env, steps=5)


def test_generator_words() -> None:
    from numba import njit

    from gymnast.tabular import primitives

    draw = njit(lambda words: primitives.uniform(words, 0))
    rng = np.random.default_rng(7)
    words = np.array([loop._words(rng.bit_generator.state)], np.uint64)
    assert [draw(words) for _ in range(100)] == rng.random(100).tolist()
    assert loop._generator(rng.bit_generator.state, words[0]) == rng.bit_generator.state
