"""Populations of PQN: every member is its own single run."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.agents import PQN, PQNConfig
from gymnast.agents.population.pqn import PQNPopulation
from gymnast.populations.environment import CounterNoise
from tests.population_pairs import SEEDS, Script, part_of, single, trained

ROWS = 4
CARTPOLE, CATCH = "gymnast/CartPole-v1", "gymnast/Catch-v0"
SMALL: dict[str, Any] = {
    "rollout_steps": 8,
    "minibatches": 4,
    "hidden_sizes": (8, 8),
    "learning_rate": 1e-3,
    "epsilon": "linear:1:0.1:200",
}
VARY = {
    "learning_rate": (1e-3, 3e-3, 1e-2),
    "gamma": (0.9, 0.99, 0.95),
    "td_lambda": (0.0, 0.65, 1.0),
    "epsilon": (0.0, 0.5, 1.0),
}
VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)


def assert_same(population: Any, member: int, agent: Any) -> None:
    assert population.member_step == agent.env_step
    assert population.updates == agent.updates
    torch.testing.assert_close(population.parameters[member].detach(), agent.weights.data, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("env_id", "changes"),
    [
        (CARTPOLE, {}),
        (CARTPOLE, {"optimizer": "adam", "layer_norm": False, "activation": "tanh", "epochs": 3, "minibatches": 1}),
        (CARTPOLE, {"learning_rate": "linear:1e-2:0:300", "reward_scale": 0.1, "clip_rewards": True}),
        (CATCH, {"max_grad_norm": 0.1, "td_lambda": 1.0}),
    ],
    ids=["radam", "adam", "schedules", "catch"],
)
def test_a_member_is_its_single_run(env_id: str, changes: dict[str, Any]) -> None:
    config = PQNConfig(**SMALL | changes)
    population = trained(env_id, config, steps=8 * 8 * ROWS)
    for member, seed in enumerate(SEEDS):
        assert_same(population, member, single(PQN, env_id, config, seed, steps=8 * 8 * ROWS))


@pytest.mark.parametrize("optimizer", ["radam", "adam"])
def test_a_member_with_settings_of_its_own_is_its_single_run(optimizer: str) -> None:
    config = PQNConfig(**SMALL, optimizer=optimizer)
    population = trained(CARTPOLE, config, steps=8 * 8 * ROWS, vary=VARY)
    for member, seed in enumerate(SEEDS):
        own = replace(config, **{name: values[member] for name, values in VARY.items()})
        assert population.config_of(member) == own
        assert_same(population, member, single(PQN, CARTPOLE, own, seed, steps=8 * 8 * ROWS))


@pytest.mark.parametrize("masked", [False, True])
def test_updates_from_the_same_rollout_are_the_same(masked: bool) -> None:
    config = PQNConfig(**SMALL)
    made: Any = (VECTOR, spaces.Discrete(4), config)
    population = PQNPopulation(*made, seeds=SEEDS, num_envs=ROWS)
    agents = [PQN(*made, num_envs=ROWS, seed=seed) for seed in SEEDS]
    script, mask = Script(len(SEEDS) * ROWS, masked=masked, ends=0.5), None
    for _ in range(3):
        for _ in range(config.rollout_steps):
            obs, acted, step = script.step()
            population.store(obs, acted, step)
            for member, agent in enumerate(agents):
                rows = slice(member * ROWS, (member + 1) * ROWS)
                told = part_of(acted, rows)
                value, _ = agent.best(obs[rows], None if mask is None else mask[rows])
                told.value = value.detach().unsqueeze(1)
                agent.store(obs[rows], told, part_of(step, rows))
            mask = step.next_action_mask
        metrics = population.learn()
        for member, agent in enumerate(agents):
            alone = agent.learn()
            torch.testing.assert_close(population.parameters[member].detach(), agent.weights.data, rtol=0, atol=1e-5)
            for name, value in metrics.items():
                torch.testing.assert_close(value[member], alone[name], rtol=1e-3, atol=1e-5)


def test_with_counters_a_member_is_what_it_is_in_a_population_of_one() -> None:
    config = PQNConfig(**SMALL)
    many, one = (trained(CARTPOLE, config, seeds, steps=256, noise=CounterNoise) for seeds in ((1, 2, 3), (2,)))
    torch.testing.assert_close(many.parameters[1], one.parameters[0], rtol=0, atol=1e-6)


def test_it_goes_on_from_its_state() -> None:
    made: Any = (VECTOR, spaces.Discrete(4), PQNConfig(**SMALL))
    one, other = (PQNPopulation(*made, seeds=SEEDS, num_envs=ROWS, vary=VARY) for _ in range(2))
    script = Script(len(SEEDS) * ROWS, masked=False)

    def play(population: PQNPopulation, steps: list[Any]) -> None:
        for moment in steps:
            population.store(*moment)
            if population.updates_due(population.env_step):
                population.learn()

    first, second = ([script.step() for _ in range(20)] for _ in range(2))  # in the middle of a rollout
    play(one, first)
    other.load_state_dict(one.state_dict())
    play(one, second)
    play(other, second)
    assert torch.equal(one.parameters, other.parameters)
    assert (one.env_step, one.updates) == (other.env_step, other.updates)
    assert torch.equal(one.ended, other.ended)


@pytest.mark.parametrize(
    ("changes", "vary", "message"),
    [
        ({"life_loss": True}, {}, "life_loss True cannot be used in a population"),
        ({"cuda_graphs": True}, {}, "cuda_graphs needs device cuda"),
        ({"minibatches": 100}, {}, "minibatches must be <= 32"),
        ({"network": "minatar-cnn"}, {}, "use backbone mlp"),
        ({}, {"reward_scale": (1.0, 1.0)}, "reward_scale cannot vary between members; learning_rate, gamma"),
        ({}, {"epsilon": (0.5, 1.5)}, "epsilon must be between 0 and 1, got 1.5"),
        ({"optimizer": "adamw"}, {"learning_rate": (0.1, 0.2)}, "learning_rate can vary between"),
    ],
)
def test_what_a_population_does_not_have_is_refused(changes: dict[str, Any], vary: Any, message: str) -> None:
    space = spaces.Box(0, 1, (10, 10, 4), bool) if "network" in changes else VECTOR
    with pytest.raises(ValueError, match=message):
        PQNPopulation(space, spaces.Discrete(2), PQNConfig(**SMALL | changes), seeds=(0, 1), num_envs=4, vary=vary)


def test_a_population_of_pqn_needs_discrete_actions() -> None:
    with pytest.raises(ValueError, match="pqn needs Discrete actions"):
        PQNPopulation(VECTOR, VECTOR, PQNConfig(**SMALL), seeds=(0,))
