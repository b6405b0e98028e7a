"""What populations are made of: their random numbers, choices and optimizers; and that a device can run them alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from gymnast.agents import ActorCriticConfig, DQNConfig, PQNConfig
from gymnast.agents.population import optimizers
from gymnast.agents.population.actor import chosen, chosen_on_device
from gymnast.agents.population.actor_critic import ActorCriticPopulation
from gymnast.agents.population.dqn import DQNPopulation
from gymnast.agents.population.kinds import KINDS
from gymnast.agents.population.noise import OwnGenerators
from gymnast.agents.population.pqn import PQNPopulation
from gymnast.envs.native.adapter import NativeEnv
from gymnast.envs.native.cartpole import CartPole
from gymnast.envs.native.pendulum import Pendulum
from gymnast.envs.native.vector import NativeVectorEnv
from gymnast.populations.environment import CounterNoise, training_env
from gymnast.settings.options import TrainOptions
from gymnast.settings.seeds import Seeds
from gymnast.training.episodes import EndedEpisodes
from gymnast.training.loop import Loop
from gymnast.training.rollout_loop import DeviceRollout


@pytest.mark.parametrize("name", optimizers.PER_MEMBER)
def test_one_learning_rate_for_each_is_one_for_all_where_they_are_equal(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 5, generator=generator)
    rates: list[Any] = [0.01, torch.full((3, 1), 0.01)]
    rows = [torch.nn.Parameter(start.clone()) for _ in rates]
    made = [
        optimizers.build(name, row, rate=rate, eps=1e-5, captured=False) for row, rate in zip(rows, rates, strict=True)
    ]
    for _ in range(5):
        grad = torch.randn(3, 5, generator=generator)
        for row, optimizer in zip(rows, made, strict=True):
            row.grad = grad.clone()
            optimizer.step()
    torch.testing.assert_close(rows[0], rows[1], rtol=0, atol=1e-6)
    assert (rows[0] - start).abs().min() > 1e-4


def test_choices_on_a_device_are_those_of_the_kernel() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4_000, 5, generator=generator)
    logits[:, 4] = -1e8  # blocked, and the last one
    uniform = torch.rand(4_000, generator=generator)
    uniform[:3] = torch.tensor([0.0, 1.0 - 2.0**-24, 0.5])
    (raw, log_prob), (expected, of_them) = chosen_on_device(logits, uniform), chosen(logits, uniform)
    assert torch.equal(raw, expected)
    assert int(raw.max()) == 3
    torch.testing.assert_close(log_prob, of_them)


@pytest.mark.parametrize("make_noise", [OwnGenerators, CounterNoise])
def test_what_a_member_draws_does_not_depend_on_the_others(make_noise: Any) -> None:
    device = torch.device("cpu")
    many, alone = make_noise([1, 2, 3], device), make_noise([2], device)
    for shape in ((4,), (2, 3)):
        assert torch.equal(many.uniform(*shape)[1], alone.uniform(*shape)[0])
        assert torch.equal(many.normal(*shape)[1], alone.normal(*shape)[0])
    again = make_noise([4, 5, 6], device)
    again.load_state_dict(many.state_dict())
    if make_noise is OwnGenerators:
        assert torch.equal(again.uniform(3), many.uniform(3))
    uniform, normal = many.uniform(20_000), many.normal(20_000)
    assert bool(((uniform >= 0) & (uniform < 1)).all())
    for row in range(3):
        assert abs(float(uniform[row].mean()) - 0.5) < 0.01
        assert abs(float(normal[row].mean())) < 0.03
        assert abs(float(normal[row].std()) - 1.0) < 0.02
    assert float(torch.corrcoef(normal)[0, 1].abs()) < 0.03


NOWHERE = torch.device("meta")
"""It has no values: whoever asks for one fails."""


def on_no_device(game: Any) -> tuple[NativeEnv, Any]:
    """Twelve rows of an environment, and its spaces."""
    vector = NativeVectorEnv(game, 12, device=NOWHERE, max_episode_steps=9)
    env = NativeEnv(vector, id="meta", seed=np.random.SeedSequence(0))
    env.reset_keys(torch.zeros(12, dtype=torch.int64, device=NOWHERE))
    return env, (env.single_observation_space, env.single_action_space)


@pytest.mark.parametrize("vary", [{}, {"learning_rate": (1e-3, 1e-4, 1e-3), "gamma": (0.9, 0.9, 0.8)}])
@pytest.mark.parametrize("game", [CartPole, Pendulum])
def test_nothing_is_read_on_the_host(game: Any, vary: Any) -> None:
    members, rows, device = 3, 4, NOWHERE
    env, spaces_of = on_no_device(game)
    config = ActorCriticConfig(rollout_steps=20, normalise_obs=True, normalise_rewards=True, value_clip=0.2)
    population = ActorCriticPopulation(
        *spaces_of, config, seeds=range(members), num_envs=rows, device=device, noise=CounterNoise, vary=vary
    )
    actor = population.actor(members * rows, explore=True, seed=0)
    assert actor.generators == ()  # counted noise needs none; a recording is told of none
    DeviceRollout(population, actor, env, EndedEpisodes(10, device=device), record=False)()
    metrics = population.learn()
    assert {value.shape for value in metrics.values()} == {torch.Size([members])}


@pytest.mark.parametrize("vary", [{}, {"learning_rate": (1e-3, 1e-4, 1e-3), "epsilon": (0.9, 0.9, 0.8)}])
def test_nothing_of_pqn_is_read_on_the_host(vary: Any) -> None:
    env, made = on_no_device(CartPole)
    config = PQNConfig(
        rollout_steps=20, optimizer="radam" if vary else "adam"
    )  # fused RAdam has no form without values
    population = PQNPopulation(*made, config, seeds=range(3), num_envs=4, device=NOWHERE, noise=CounterNoise, vary=vary)
    actor = population.actor(12, explore=True, seed=0)
    DeviceRollout(population, actor, env, EndedEpisodes(10, device=NOWHERE), record=False)()
    assert {value.shape for value in population.learn().values()} == {torch.Size([3])}


@pytest.mark.parametrize(
    ("changes", "vary"),
    [
        ({"double": True, "n_step": 2}, {}),
        ({}, {"epsilon": (0.9, 0.9, 0.8), "gamma": (0.9, 0.9, 0.8), "tau": (0.1, 0.2, 1.0)}),
        ({"prioritized": True, "noisy": True, "dueling": True, "values": "categorical"}, {}),
        ({"prioritized": True, "priority": "rank", "values": "implicit", "quantiles": 8}, {}),
    ],
    ids=["plain", "varied", "prioritized", "ranked"],
)
def test_nothing_of_dqn_is_read_on_the_host(changes: dict[str, Any], vary: Any) -> None:
    env, made = on_no_device(CartPole)
    config = DQNConfig(learning_starts=20, target_period=30, **changes)
    population = DQNPopulation(*made, config, seeds=range(3), num_envs=4, device=NOWHERE, noise=CounterNoise, vary=vary)
    actor = population.actor(12, explore=True, seed=0)
    shapes = set()
    for _ in range(12):
        obs = env.obs
        acted = actor.act(obs, env.start)
        population.store(obs, acted, env.step(acted.action))
        for _ in range(population.updates_due(population.env_step)):
            shapes |= {value.shape for value in population.learn().values()}
    assert shapes == {torch.Size([3])}
    assert population.updates == 7


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("vary", [{}, {"learning_rate": (1e-3, 1e-4)}])
@pytest.mark.parametrize(
    "config",
    [
        ActorCriticConfig(rollout_steps=16, hidden_sizes=(8, 8)),
        PQNConfig(rollout_steps=16, hidden_sizes=(8, 8)),
        DQNConfig(hidden_sizes=(8, 8), learning_starts=40, prioritized=True, noisy=True),
    ],
    ids=["ppo", "pqn", "dqn"],
)
def test_recorded_members_are_those_that_are_not(config: Any, vary: Any) -> None:
    found = []
    for graphs in (True, False):
        streams = [Seeds.of(seed) for seed in (1, 2)]
        env = training_env(TrainOptions(env="gymnast/CartPole-v1", num_envs=4), streams, device="cuda", compile=False)
        made: Any = (env.single_observation_space, env.single_action_space, replace(config, cuda_graphs=graphs))
        agents = [stream.agent for stream in streams]
        kind = KINDS[type(config)]
        population = kind(*made, seeds=agents, num_envs=4, device="cuda", noise=CounterNoise, vary=vary)
        actor = population.actor(8, explore=True, seed=[stream.actor for stream in streams])
        Loop(population, actor, env).advance(8 * 16 * 8, lambda: False)
        found.append((population.parameters.detach(), population.ended))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-4)
