"""Populations: every member is what its own single run is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.agents import ActorCritic, ActorCriticConfig
from gymnast.agents.base import Acted
from gymnast.agents.population.actor_critic import ActorCriticPopulation
from gymnast.agents.population.noise import MakeNoise, OwnGenerators
from gymnast.agents.table import A2C
from gymnast.envs.step import Step
from gymnast.evaluation.environment import make_env
from gymnast.evaluation.play import evaluate
from gymnast.populations.environment import CounterNoise, evaluation_env, play, training_env
from gymnast.settings.options import TrainOptions
from gymnast.settings.seeds import Seeds
from gymnast.training.episodes import EndedEpisodes
from gymnast.training.rollout_loop import DeviceRollout
from tests import population_pairs
from tests.population_pairs import begun

SMALL: dict[str, Any] = {"rollout_steps": 16, "hidden_sizes": (8, 8), "entropy_coef": 0.01}
VARY = {
    "learning_rate": (1e-3, 3e-3, 1e-2),
    "gamma": (0.9, 0.99, 0.95),
    "gae_lambda": (0.95, 0.5, 1.0),
    "entropy_coef": (0.0, 0.1, 0.01),
    "clip": (0.05, 0.2, 0.1),
}
SEEDS = (3, 5, 11)
ROWS = 4
CARTPOLE, PENDULUM = "gymnast/CartPole-v1", "gymnast/Pendulum-v1"
VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)


def trained(
    env_id: str,
    config: ActorCriticConfig,
    seeds: Sequence[int] = SEEDS,
    *,
    vary: Mapping[str, Sequence[float]] | None = None,
    rollouts: int = 3,
    noise: MakeNoise = OwnGenerators,
) -> ActorCriticPopulation:
    """A population after some rollouts, by the loop."""
    steps = rollouts * config.rollout_steps * ROWS
    population = population_pairs.trained(env_id, config, seeds, steps=steps, vary=vary, noise=noise)
    assert isinstance(population, ActorCriticPopulation)
    return population


def single(env_id: str, config: ActorCriticConfig, seed: int, *, rollouts: int = 3) -> Any:
    """What `gymnast train` does with this seed."""
    return population_pairs.single(ActorCritic, env_id, config, seed, steps=rollouts * config.rollout_steps * ROWS)


@pytest.mark.parametrize(
    ("env_id", "changes"),
    [
        (CARTPOLE, {}),
        (CARTPOLE, {"trunk": "shared", "value_clip": 0.2, "activation": "relu", "max_grad_value": 0.01}),
        (CARTPOLE, A2C),
        (CARTPOLE, {"learning_rate": "linear:1e-2:0:300", "clip": "linear:0.2:0.1:200", "optimizer": "rmsprop"}),
        (PENDULUM, {}),
        (PENDULUM, {"squash": True, "minibatches": 3, "clip_rewards": True}),
        (PENDULUM, {"normalise_obs": True, "normalise_rewards": True}),
        (CARTPOLE, {"normalise_obs": True, "normalise_rewards": True}),
    ],
    ids=["ppo", "shared", "a2c", "schedules", "gaussian", "squashed", "normalised", "normalised-ends"],
)
def test_a_member_is_its_single_run(env_id: str, changes: dict[str, Any]) -> None:
    config = ActorCriticConfig(**SMALL | changes)
    population = trained(env_id, config)
    for member, seed in enumerate(SEEDS):
        agent = single(env_id, config, seed)
        assert population.member_step == agent.env_step
        assert population.updates == agent.updates
        torch.testing.assert_close(population.parameters[member].detach(), agent.weights.data, rtol=0, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "a3c-rmsprop"])
def test_a_member_with_settings_of_its_own_is_its_single_run(optimizer: str) -> None:
    config = ActorCriticConfig(**SMALL, optimizer=optimizer, normalise_rewards=True)
    population = trained(CARTPOLE, config, vary=VARY)
    for member, seed in enumerate(SEEDS):
        own = replace(config, **{name: values[member] for name, values in VARY.items()})
        assert population.config_of(member) == own
        agent = single(CARTPOLE, own, seed)
        torch.testing.assert_close(population.parameters[member].detach(), agent.weights.data, rtol=0, atol=1e-5)


def test_the_order_of_members_does_not_matter() -> None:
    config = ActorCriticConfig(**SMALL)
    one, other = trained(CARTPOLE, config, (1, 2, 3)), trained(CARTPOLE, config, (3, 1, 2))
    torch.testing.assert_close(one.parameters[[2, 0, 1]], other.parameters, rtol=0, atol=1e-6)


@pytest.mark.parametrize("env_id", [CARTPOLE, PENDULUM])
def test_with_counters_a_member_is_what_it_is_alone(env_id: str) -> None:
    config = ActorCriticConfig(**SMALL)
    together, alone = (trained(env_id, config, seeds, noise=CounterNoise) for seeds in ((1, 2, 3), (2,)))
    torch.testing.assert_close(together.parameters[1], alone.parameters[0], rtol=0, atol=1e-6)


def test_a_learning_rate_acts_on_its_member_alone() -> None:
    config = ActorCriticConfig(**SMALL)
    before = trained(CARTPOLE, config, rollouts=0).parameters
    low = trained(CARTPOLE, config, vary={"learning_rate": (1e-3, 1e-3, 0.0)}).parameters
    high = trained(CARTPOLE, config, vary={"learning_rate": (1e-3, 1e-2, 0.0)}).parameters
    assert torch.equal(low[0], high[0])
    assert (low[1] - high[1]).abs().max() > 1e-3
    assert torch.equal(low[2], before[2])


def fill(population: ActorCriticPopulation, agents: Sequence[ActorCritic], *, masked: bool) -> None:
    """One rollout of made-up numbers, with ends of both kinds, the same for the population and the single agents."""
    generator, rows = torch.Generator().manual_seed(0), len(agents) * ROWS
    actions = int(population.action_space.n)  # type: ignore[attr-defined]
    obs = torch.randn(rows, 3, generator=generator)
    for _ in range(population.rollout.steps):
        mask = torch.rand(rows, actions, generator=generator) < 0.6
        raw = torch.randint(actions, (rows,), generator=generator)
        mask[torch.arange(rows), raw] = True
        terminated, truncated = (torch.rand(2, rows, generator=generator) < 0.2).unbind(0)
        following, nxt = torch.randn(2, rows, 3, generator=generator).unbind(0)
        reward, log_prob = torch.randn(2, rows, generator=generator).unbind(0)
        values = torch.cat([agent.network(part)[1] for agent, part in zip(agents, obs.split(ROWS), strict=True)])
        ended = terminated | truncated
        step = Step(following, ended, torch.where(ended[:, None], nxt, following), reward, terminated, truncated, 0, 1)
        step.num_active = rows
        step.episode_return, step.episode_length = torch.ones(rows).double(), torch.ones(rows).long()
        acted = Acted(raw, log_prob.abs() - 1.0, values.detach(), raw=raw, mask=mask if masked else None)
        population.store(obs, acted, step)
        for member, agent in enumerate(agents):
            part = slice(member * ROWS, (member + 1) * ROWS)
            agent.store(obs[part], _of(acted, part), _of(step, part))
        obs = following


def _of(whole: Any, part: slice) -> Any:
    changes = {name: getattr(whole, name) for name in whole.__slots__}
    return replace(whole, **{name: value[part] for name, value in changes.items() if isinstance(value, torch.Tensor)})


@pytest.mark.parametrize("masked", [False, True])
def test_updates_from_the_same_rollout_are_the_same(masked: bool) -> None:
    config = ActorCriticConfig(**SMALL, value_clip=0.1)
    made: Any = (VECTOR, spaces.Discrete(4), config)
    population = ActorCriticPopulation(*made, seeds=SEEDS, num_envs=ROWS)
    agents = [ActorCritic(*made, num_envs=ROWS, seed=seed) for seed in SEEDS]
    for member, agent in enumerate(agents):
        assert torch.equal(population.parameters[member], agent.weights.data)
    for _ in range(2):
        fill(population, agents, masked=masked)
        metrics = population.learn()
        for member, agent in enumerate(agents):
            single_metrics = agent.learn()
            torch.testing.assert_close(population.parameters[member].detach(), agent.weights.data, rtol=0, atol=1e-5)
            for name, value in metrics.items():
                torch.testing.assert_close(value[member], single_metrics[name], rtol=1e-3, atol=1e-5, check_dtype=False)


def test_statistics_of_episodes_are_the_members_own() -> None:
    config = ActorCriticConfig(**SMALL)
    loop = begun(CARTPOLE, config, (1, 2))
    loop.advance(96 * 2 * ROWS, lambda: False)
    population: Any = loop.agent
    assert population.ended[0].sum() == loop.episodes.count > 10
    alone: Any = trained(CARTPOLE, config, (2,), rollouts=6)
    assert torch.equal(population.ended[:, 1], alone.ended[:, 0])


def test_there_is_a_key_for_each_row() -> None:
    env = training_env(TrainOptions(env=CARTPOLE, num_envs=2), [Seeds.of(0)], device="cpu", compile=False)
    with pytest.raises(ValueError, match="expected 2 keys, one per row, got 3"):
        env.reset_keys(torch.zeros(3, dtype=torch.int64))


def test_evaluations_are_those_of_the_single_agents() -> None:
    population = trained(CARTPOLE, ActorCriticConfig(**SMALL, normalise_obs=True))
    options = TrainOptions(env=CARTPOLE, eval_episodes=3)
    env = evaluation_env(options, len(SEEDS), device="cpu")
    for seeds in ((7, 8, 9), (1, 1, 2)):
        actor = population.actor(env.num_envs, explore=False, seed=0)
        returns, lengths = play(actor, env, seeds)
        for member, seed in enumerate(seeds):
            agent = ActorCritic(population.observation_space, population.action_space, population.config)
            agent.network.load_state_dict(population.network_state(population.weights(), member))
            found = evaluate(agent, make_env(CARTPOLE, 2), episodes=3, seed=seed)
            assert (tuple(returns[member].tolist()), tuple(lengths[member].tolist())) == (found.returns, found.lengths)


def test_a_population_goes_on_from_its_state() -> None:
    config = ActorCriticConfig(**SMALL, normalise_obs=True, normalise_rewards=True)
    made: Any = (VECTOR, spaces.Discrete(4), config)
    agents = [ActorCritic(*made, num_envs=ROWS, seed=seed) for seed in SEEDS]
    one, other = (ActorCriticPopulation(*made, seeds=SEEDS, num_envs=ROWS, vary=VARY) for _ in range(2))
    fill(one, agents, masked=False)
    one.learn()
    other.load_state_dict(one.state_dict())
    for population in (one, other):
        for agent in agents:
            agent.rollout.clear()
        fill(population, agents, masked=False)
        population.learn()
    assert torch.equal(one.parameters, other.parameters)
    assert (one.env_step, one.updates) == (other.env_step, other.updates)


def test_whole_rollouts_are_the_loop_s_steps() -> None:
    config = ActorCriticConfig(**SMALL)
    loop = begun(CARTPOLE, config, SEEDS)
    population: Any = loop.agent
    device = torch.device("cpu")
    env: Any = loop.env
    rollout = DeviceRollout(population, loop.actor, env, EndedEpisodes(10, device=device), record=False)
    for _ in range(3):
        rollout()
        population.learn()
    assert torch.equal(population.parameters, trained(CARTPOLE, config).parameters)


@pytest.mark.parametrize(
    ("changes", "vary", "message"),
    [
        ({"recurrent": "lstm"}, {}, "recurrent lstm cannot be used in a population"),
        ({"target_kl": 0.1}, {}, "target_kl 0.1 cannot be used in a population"),
        ({"advantage": "vtrace"}, {}, "advantage vtrace cannot be used in a population"),
        ({"workers": 2, "optimizer": "a3c-rmsprop"}, {}, "workers 2 cannot be used"),
        ({"cuda_graphs": True}, {}, "cuda_graphs needs device cuda"),
        ({"minibatches": 100}, {}, "minibatches must be <= 64"),
        ({}, {"value_coef": (1.0, 1.0)}, "value_coef cannot vary between members; learning_rate, gamma"),
        ({}, {"gamma": (0.9,)}, "gamma needs 2 numbers"),
        ({}, {"gamma": (0.9, 1.5)}, "gamma must be between 0 and 1, got 1.5"),
        (
            {"optimizer": "sgd", "optimizer_eps": None},
            {"learning_rate": (0.1, 0.2)},
            "learning_rate can vary between",
        ),
    ],
)
def test_what_a_population_does_not_have_is_refused(changes: dict[str, Any], vary: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActorCriticPopulation(
            VECTOR, spaces.Discrete(2), ActorCriticConfig(**SMALL | changes), seeds=(0, 1), num_envs=ROWS, vary=vary
        )


@pytest.mark.parametrize(
    ("observations", "actions", "message"),
    [
        (VECTOR, spaces.MultiDiscrete([2, 3]), "needs Discrete or Box actions"),
        (spaces.Box(0, 255, (4, 84, 84), np.uint8), spaces.Discrete(2), "fully connected trunks"),
    ],
)
def test_spaces_that_do_not_fit_are_refused(observations: Any, actions: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActorCriticPopulation(observations, actions, ActorCriticConfig(rollout_steps=8), seeds=(0,))
