"""Populations of DQN: every member is its own single run, and samples only its own rows of the replay."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.agents import DQN, DQNConfig
from gymnast.agents.population.dqn import DQNPopulation
from gymnast.agents.table import RAINBOW
from gymnast.populations.environment import CounterNoise
from tests.population_pairs import SEEDS, Script, part_of, single, trained

CARTPOLE, CATCH = "gymnast/CartPole-v1", "gymnast/Catch-v0"
SMALL: dict[str, Any] = {
    "hidden_sizes": (8, 8),
    "learning_rate": 1e-3,
    "epsilon": "linear:1:0.1:300",
    "batch_size": 8,
    "replay_size": 200,
    "learning_starts": 40,
    "target_period": 60,
}
VARY = {
    "learning_rate": (1e-3, 3e-3, 1e-2),
    "gamma": (0.9, 0.99, 0.95),
    "epsilon": (0.0, 0.5, 1.0),
    "tau": (1.0, 0.5, 0.1),
    "target_period": (60, 40, 4),
}
VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)


def assert_same(population: Any, member: int, agent: Any) -> None:
    assert population.member_step == agent.env_step
    assert population.updates == agent.updates > 20
    torch.testing.assert_close(population.parameters[member].detach(), agent.weights.data, rtol=0, atol=2e-5)
    torch.testing.assert_close(population.target[member], agent.target_weights.data, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("env_id", "rows", "changes"),
    [
        (CARTPOLE, 1, {}),
        (CARTPOLE, 4, {"double": True, "dueling": True, "n_step": 3, "loss": "mse"}),
        (CARTPOLE, 3, {"dueling": True, "dueling_aggregation": "max", "tau": 0.1, "target_period": 4}),
        (CARTPOLE, 2, {"optimizer": "radam", "learning_rate": "linear:1e-2:0:300", "max_grad_value": 0.01}),
        (CARTPOLE, 2, {"updates_per_train": 2, "train_period": 3, "max_grad_norm": 0.5, "clip_rewards": True}),
        (CATCH, 2, {"values": "categorical", "atoms": 11, "v_min": -1.0, "v_max": 1.0, "double": True}),
        (CATCH, 2, {"values": "quantile", "quantiles": 5}),
        (CATCH, 2, {"values": "rescaled", "replay_size": 60}),
        (CARTPOLE, 1, {"noisy": True, "dueling": True, "batch_size": 20}),
        (
            CARTPOLE,
            3,
            {
                "noisy": True,
                "noise": "independent",
                "noisy_epsilon": 0.1,
                "double": True,
                "values": "categorical",
                "atoms": 5,
            },
        ),
        (CARTPOLE, 2, {"values": "implicit", "quantiles": 8, "noisy": True}),
        (CATCH, 2, {"values": "implicit", "quantiles": 4, "dueling": True, "double": True}),
        (CATCH, 2, {"values": "implicit", "quantiles": 4, "munchausen": True, "noisy": True}),
        (CARTPOLE, 1, {"prioritized": True, "priority_beta": "linear:0.4:1:300", "replay_size": 100}),
        (CARTPOLE, 3, {"prioritized": True, "priority": "rank", "double": True}),
        (CATCH, 2, RAINBOW | {"atoms": 11, "v_min": -1.0, "v_max": 1.0}),
    ],
    ids=[
        "one-row",
        "double-dueling-n-step",
        "soft",
        "radam",
        "periods",
        "categorical",
        "quantile",
        "rescaled",
        "noisy",
        "independent",
        "implicit-noisy",
        "implicit",
        "munchausen",
        "prioritized",
        "ranked",
        "rainbow",
    ],
)
def test_a_member_is_its_single_run(env_id: str, rows: int, changes: dict[str, Any]) -> None:
    config = DQNConfig(**SMALL | changes)
    population = trained(env_id, config, steps=400, rows=rows)
    for member, seed in enumerate(SEEDS):
        assert_same(population, member, single(DQN, env_id, config, seed, steps=400, rows=rows))


@pytest.mark.parametrize("n_step", [1, 3])
def test_a_member_with_settings_of_its_own_is_its_single_run(n_step: int) -> None:
    config = DQNConfig(**SMALL, n_step=n_step)
    population = trained(CARTPOLE, config, steps=400, vary=VARY)
    for member, seed in enumerate(SEEDS):
        own = replace(config, **{name: values[member] for name, values in VARY.items()})
        assert population.config_of(member) == own
        assert_same(population, member, single(DQN, CARTPOLE, own, seed, steps=400))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("rows", [1, 3])
def test_members_sample_and_learn_what_single_agents_do(rows: int, masked: bool) -> None:
    config = DQNConfig(**SMALL | {"replay_size": 30, "learning_starts": 4, "train_period": 2, "n_step": 2})
    made: Any = (VECTOR, spaces.Discrete(4), config)
    population = DQNPopulation(*made, seeds=SEEDS, num_envs=rows)
    agents = [DQN(*made, num_envs=rows, seed=seed) for seed in SEEDS]
    script = Script(len(SEEDS) * rows, masked=masked)
    wrapped = False
    for _ in range(60):
        moment = script.step()
        population.store(*moment)
        for member, agent in enumerate(agents):
            own = slice(member * rows, (member + 1) * rows)
            agent.store(moment[0][own], *(part_of(part, own) for part in moment[1:]))
        for _ in range(population.updates_due(population.env_step)):
            metrics, batch = population.learn(), population.allocate()._buffers.batch
            for member, agent in enumerate(agents):
                alone, of_agent = agent.learn(), agent.allocate()._buffers.batch
                sampled = slice(member * config.batch_size, (member + 1) * config.batch_size)
                for name in ("obs", "action", "reward", "discount", "next_obs", *(["next_mask"] if masked else [])):
                    assert torch.equal(getattr(batch, name)[sampled], getattr(of_agent, name))
                torch.testing.assert_close(metrics["loss"][member], alone["loss"], rtol=1e-3, atol=1e-5)
                torch.testing.assert_close(metrics["q"][member], alone["q"], rtol=1e-3, atol=1e-5)
                wrapped |= agent.allocate().used == agent.allocate().slots
    assert wrapped
    for member, agent in enumerate(agents):
        assert_same(population, member, agent)


@pytest.mark.long
def test_compiled_members_are_those_that_are_not() -> None:
    config = DQNConfig(**SMALL | RAINBOW, atoms=5)
    one, other = (trained(CARTPOLE, each, steps=200) for each in (config, replace(config, compile=True)))
    torch.testing.assert_close(one.parameters, other.parameters, rtol=0, atol=1e-5)


def test_with_counters_a_member_is_what_it_is_in_a_population_of_one() -> None:
    config = DQNConfig(**SMALL)
    many, one = (trained(CARTPOLE, config, seeds, steps=300, noise=CounterNoise) for seeds in ((1, 2, 3), (2,)))
    torch.testing.assert_close(many.parameters[1], one.parameters[0], rtol=0, atol=1e-6)


def test_it_goes_on_from_its_state() -> None:
    config = DQNConfig(**SMALL, optimizer="radam")
    made: Any = (VECTOR, spaces.Discrete(4), config)
    one, other = (DQNPopulation(*made, seeds=SEEDS, num_envs=2, vary=VARY) for _ in range(2))
    script = Script(len(SEEDS) * 2, masked=True)

    def play(population: DQNPopulation, steps: list[Any]) -> None:
        for moment in steps:
            population.store(*moment)
            for _ in range(population.updates_due(population.env_step)):
                population.learn()

    first, second = ([script.step() for _ in range(count)] for count in (51, 150))
    play(one, first)
    other.load_state_dict(one.state_dict())
    play(one, second)
    play(other, second)
    assert torch.equal(one.parameters, other.parameters)
    assert torch.equal(one.target, other.target)
    assert (one.env_step, one.updates) == (other.env_step, other.updates)
    assert torch.equal(one.ended, other.ended)


def test_without_its_replay_it_learns_again_after_learning_starts() -> None:
    made: Any = (VECTOR, spaces.Discrete(4), DQNConfig(**SMALL))
    one, other = (DQNPopulation(*made, seeds=SEEDS, num_envs=2) for _ in range(2))
    script = Script(len(SEEDS) * 2, masked=False)
    for _ in range(30):
        one.store(*script.step())
        for _ in range(one.updates_due(one.env_step)):
            one.learn()
    state = one.state_dict()
    del state["replay"]
    other.load_state_dict(state)
    assert other.updates == one.updates == 5
    assert other.updates_due((60 + 43) * 3) == 0
    assert other.updates_due((60 + 44) * 3) == 1


@pytest.mark.parametrize(
    ("changes", "vary", "message"),
    [
        ({"noisy": True}, {"epsilon": (0.1, 0.2)}, "epsilon cannot vary between members with noisy layers"),
        ({"recurrent": "lstm"}, {}, "recurrent lstm cannot be used in a population"),
        ({"life_loss": True}, {}, "life_loss True cannot be used in a population"),
        ({"cuda_graphs": True}, {}, "cuda_graphs needs device cuda"),
        ({}, {"batch_size": (8, 16)}, "batch_size cannot vary between members; learning_rate, gamma, epsilon, tau"),
        ({}, {"target_period": (8, 9.5)}, "target_period must be a whole number, got 9.5"),
        ({}, {"tau": (1.0, 0.0)}, "tau must be > 0 and <= 1, got 0"),
    ],
)
def test_what_a_population_does_not_have_is_refused(changes: dict[str, Any], vary: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DQNPopulation(VECTOR, spaces.Discrete(2), DQNConfig(**SMALL | changes), seeds=(0, 1), vary=vary)


def test_spaces_and_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="dqn needs Discrete actions"):
        DQNPopulation(VECTOR, VECTOR, DQNConfig(**SMALL), seeds=(0,))
    with pytest.raises(ValueError, match="use backbone mlp"):
        DQNPopulation(spaces.Box(0, 255, (4, 84, 84), np.uint8), spaces.Discrete(2), DQNConfig(), seeds=(0,))
    population = DQNPopulation(VECTOR, spaces.Discrete(2), DQNConfig(replay_size=10), seeds=(0,), num_envs=8)
    with pytest.raises(ValueError, match="replay_size must be >= 40 for 8 environments"):
        population.actor(8, explore=True, seed=0)
    population = DQNPopulation(VECTOR, spaces.Discrete(2), DQNConfig(replay_size=10**12), seeds=(0, 1))
    with pytest.raises(ValueError, match=r"replay_size 1,000,000,000,000 needs 62000.00 GB but"):
        population.actor(2, explore=True, seed=0)
