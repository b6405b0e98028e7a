"""Policy search: the maths by hand, who plays which candidate, stacked networks, actions, states, options, learning."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents import (
    EvolutionStrategies,
    EvolutionStrategiesConfig,
    GeneticAlgorithm,
    GeneticAlgorithmConfig,
    HillClimbing,
    HillClimbingConfig,
)
from gymnast.agents.base import Acted
from gymnast.agents.search.evolution import best_first, centred_ranks, crossed, es_gradient
from gymnast.agents.search.policy_search import PolicySearch, PolicySearchConfig
from gymnast.agents.search.trials import Trials
from gymnast.envs import make
from gymnast.envs.step import Step
from gymnast.evaluation.play import evaluate
from gymnast.networks import build
from gymnast.networks.distributions.deterministic import chooser
from gymnast.networks.stacked.network import Stacked, flat_vector, with_output
from tests.scripted import LENGTHS, Scripted

BOX = spaces.Box(-1, 1, (2,))
AGENTS = {
    "hill-climbing": (HillClimbing, HillClimbingConfig(population_size=3, episodes=2, hidden_sizes=(4,))),
    "ga": (
        GeneticAlgorithm,
        GeneticAlgorithmConfig(
            population_size=5, parents=2, elite_candidates=2, elite_episodes=2, crossover=0.5, hidden_sizes=(4,)
        ),
    ),
    "es": (EvolutionStrategies, EvolutionStrategiesConfig(population_size=4, episodes=2, hidden_sizes=(4,))),
}
EACH = pytest.mark.parametrize("name", AGENTS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def linear(cls: Any, config: Any, **options: Any) -> Any:
    """An agent with a linear policy of two observations and one output: parameters [w0, w1, b]."""
    return cls(BOX, spaces.Box(-1, 1, (1,)), dataclasses.replace(config, hidden_sizes=()), **options)


class Run:
    """An agent in an environment, and the loop between them."""

    def __init__(self, agent: PolicySearch, env: Any, *, seed: int = 2) -> None:
        self.agent, self.env = agent, env
        env.reset()
        self.actor = agent.actor(env.num_envs, explore=True, seed=seed)

    def step(self, before: Callable[[], None] = lambda: None) -> Step:
        env, agent = self.env, self.agent
        obs = env.obs
        acted = self.actor.act(obs, env.start, env.action_mask)
        before()
        step = env.step(acted.action)
        agent.store(obs, acted, step)
        for _ in range(agent.updates_due(agent.env_step)):
            agent.learn()
        return step

    def until(self, *, updates: int) -> PolicySearch:
        while self.agent.updates < updates:
            self.step()
        return self.agent


def made(name: str, env: Any, *, seed: int = 1, **changes: Any) -> PolicySearch:
    cls, config = AGENTS[name]
    return cls(
        env.single_observation_space,
        env.single_action_space,
        dataclasses.replace(config, **changes),
        num_envs=env.num_envs,
        seed=seed,
    )


# The maths.


def test_centred_ranks_by_hand() -> None:
    assert centred_ranks(tensor(3.0, -7.0, 500.0)).tolist() == [0.0, -0.5, 0.5]
    assert centred_ranks(tensor(1.0, 0.0, 1.0, 9.0, 0.0)).tolist() == [0.125, -0.375, 0.125, 0.5, -0.375]
    assert centred_ranks(tensor(4.0, 4.0)).tolist() == [0.0, 0.0]  # a plateau has no gradient


def test_es_gradient_by_hand() -> None:
    """1 / (C sigma) times the sum of fitness times noise, the second half of the noise being minus the first."""
    noise = torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 4.0]])
    shaped = torch.tensor([0.5, -0.1, 0.1, -0.5])
    # (0.4 * [1, 2, 0] + 0.4 * [0, -1, 4]) / (4 * 0.2)
    assert es_gradient(shaped, noise, 0.2).tolist() == pytest.approx([0.5, 0.5, 2.0])
    both = torch.cat([noise, -noise])
    naive = sum(shaped[index] * both[index] for index in range(4)) / (4 * 0.2)
    torch.testing.assert_close(es_gradient(shaped, noise, 0.2), naive)


def test_es_takes_one_step_of_its_optimizer() -> None:
    config = EvolutionStrategiesConfig(
        population_size=4, sigma=0.2, optimizer="sgd", learning_rate=0.1, weight_decay=0.01
    )
    agent = linear(EvolutionStrategies, config, seed=3)
    agent.actor(1, explore=True, seed=0)
    centre, noise = agent.parameters.clone(), agent.directions.clone()
    for index in range(4):
        sign = 1 if index < 2 else -1
        torch.testing.assert_close(agent.candidate(index), centre + sign * 0.2 * noise[index % 2])
    metrics = agent.select(tensor(10.0, 3.0, 5.0, 0.0))  # ranks 3, 1, 2, 0 of 3
    gradient = ((1 / 2 - 1 / 6) * noise[0] + (-1 / 6 + 1 / 2) * noise[1]) / (4 * 0.2)
    torch.testing.assert_close(agent.parameters, centre + 0.1 * (gradient - 0.01 * centre))
    assert (metrics["fitness_mean"], metrics["fitness_max"]) == (4.5, 10.0)
    assert not torch.equal(agent.directions, noise)


def test_es_climbs_a_quadratic() -> None:
    """The fitness is minus the squared distance from a point, which is found."""
    config = EvolutionStrategiesConfig(population_size=64, sigma=0.1, learning_rate=0.03, weight_decay=0.0)
    agent, goal = linear(EvolutionStrategies, config), torch.tensor([0.5, -1.0, 2.0])
    agent.propose()
    for _ in range(300):
        candidates = torch.stack([agent.candidate(index) for index in range(64)])
        agent.select(-(candidates - goal).square().sum(1).double())
    torch.testing.assert_close(agent.parameters, goal, atol=0.1, rtol=0.0)


def test_crossover_by_hand() -> None:
    first, second = torch.zeros(4000, 5), torch.ones(4000, 5)
    assert torch.equal(crossed(first, second, 0.0, generator()), first)
    both = crossed(first, second, 1.0, generator())
    assert both.mean().item() == pytest.approx(0.5, abs=0.02)
    assert ((both.sum(1) > 0) & (both.sum(1) < 5)).float().mean().item() == pytest.approx(1 - 2 / 32, abs=0.02)
    some = crossed(first, second, 0.25, generator())
    assert (some.sum(1) > 0).float().mean().item() == pytest.approx(0.25 * 31 / 32, abs=0.02)


def test_the_best_come_first_and_of_equals_the_first() -> None:
    assert best_first(tensor(1.0, 5.0, 5.0, 7.0, 1.0)).tolist() == [3, 1, 2, 0, 4]


def test_ga_selects_replays_the_best_and_breeds_from_the_parents() -> None:
    config = GeneticAlgorithmConfig(
        population_size=5, parents=2, sigma=0.0, elite_candidates=3, elite_episodes=2, hidden_sizes=()
    )
    agent = GeneticAlgorithm(BOX, spaces.Discrete(2), config, seed=1)
    agent.actor(1, explore=True, seed=0)
    first = agent.population.clone()
    assert len(first.unique(dim=0)) == 5
    assert torch.equal(first[0], agent.first)
    agent.select(tensor(1.0, 4.0, 2.0, 9.0, 3.0))
    assert agent.trials.candidates == [3, 1, 4]
    assert agent.trials.episodes == 2
    assert torch.equal(agent.parameters, agent.first)  # the elite is not chosen yet
    metrics = agent.select(tensor(1.0, 8.0, 8.0))  # candidate 1 wins by new episodes
    assert (metrics["elite_return"], metrics["fitness_max"]) == (8.0, 9.0)
    assert torch.equal(agent.parameters, first[1])
    assert agent.generations == 1
    assert agent.trials.candidates == [0, 1, 2, 3, 4]
    assert torch.equal(agent.population[0], first[1])
    parents = {tuple(first[index].tolist()) for index in (3, 1)}  # without mutation, children are the two fittest
    assert {tuple(child.tolist()) for child in agent.population[1:]} <= parents


def test_ga_mutates_by_gaussian_noise() -> None:
    config = GeneticAlgorithmConfig(population_size=2001, parents=1, sigma=0.3, elite_episodes=0, hidden_sizes=())
    agent = GeneticAlgorithm(BOX, spaces.Discrete(2), config, seed=1)
    agent.actor(1, explore=True, seed=0)
    parent = agent.population[7].clone()
    fitness = torch.zeros(2001, dtype=torch.float64)
    fitness[7] = 1.0
    agent.select(fitness)
    assert torch.equal(agent.population[0], parent)  # with 0 elite episodes the best is the elite at once
    steps = agent.population[1:] - parent
    assert steps.mean().item() == pytest.approx(0.0, abs=0.01)
    assert steps.std().item() == pytest.approx(0.3, abs=0.01)


def test_hill_climbing_keeps_what_is_better() -> None:
    config = HillClimbingConfig(
        population_size=2, noise_scale=0.4, noise_shrink=0.5, noise_growth=3.0, min_noise_scale=0.3, max_noise_scale=0.8
    )
    agent = linear(HillClimbing, config)
    agent.actor(1, explore=True, seed=0)
    first, steps = agent.parameters.clone(), agent.steps.clone()
    assert steps[0].tolist() == [0.0] * 3  # the best itself
    agent.select(tensor(5.0, 5.0, 4.0))  # only as good is no success
    assert torch.equal(agent.parameters, first)
    assert (agent.best_return, agent.best_count, agent.noise_scale) == (5.0, 1, 0.8)  # 1.2 is too large
    steps = agent.steps.clone()
    agent.select(tensor(8.0, 6.0, 7.0))  # the best has (5 + 8) / 2
    torch.testing.assert_close(agent.parameters, first + 0.8 * steps[2])
    assert (agent.best_return, agent.best_count, agent.noise_scale) == (7.0, 1, 0.4)
    agent.select(tensor(1.0, 2.0, 4.5))
    assert (agent.best_return, agent.best_count, agent.noise_scale) == (4.5, 1, 0.3)  # 0.2 is too small
    assert agent.scheduled() == {"noise_scale": 0.3}


def test_hill_climbing_without_reevaluation_plays_the_first_policy_once() -> None:
    agent = linear(HillClimbing, HillClimbingConfig(population_size=2, reevaluate=False))
    agent.actor(1, explore=True, seed=0)
    assert len(agent.trials.candidates) == 3
    agent.select(tensor(5.0, 1.0, 2.0))
    assert len(agent.trials.candidates) == 2
    agent.select(tensor(1.0, 6.0))
    assert (agent.best_return, len(agent.trials.candidates)) == (6.0, 2)


# Who plays which candidate.


def test_fitness_does_not_depend_on_the_order_in_which_episodes_end() -> None:
    """Three candidates of two episodes; episode k returns 10 k, whichever row plays it and whenever it ends."""
    for order in ([0, 1], [1, 0], [0, 0, 0, 1], [1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1]):
        trials, turn = Trials(2), 0
        assert trials.begin([7, 8, 9], 2) == [(0, 7), (1, 7)]
        trials.waiting.clear()
        while not trials.complete:
            row = order[turn % len(order)]
            turn += 1
            episode = trials.episode[row]
            given = trials.end(row, 1e9 if episode is None else 10.0 * episode)
            assert given == (None if trials.episode[row] is None else [7, 7, 8, 8, 9, 9][trials.episode[row]])
        assert trials.fitness().tolist() == [5.0, 25.0, 45.0]


def test_a_row_without_work_takes_part_from_its_next_episode_on() -> None:
    trials = Trials(3)
    assert trials.begin([0], 1) == [(0, 0)]
    assert trials.waiting == {1, 2}
    trials.waiting.clear()  # actions were chosen
    assert trials.end(0, 1.0) is None
    assert trials.complete
    assert trials.begin([4, 5], 1) == [(0, 4)]  # rows 1 and 2 are in the middle of an episode
    assert trials.end(2, 99.0) == 5
    assert trials.end(1, 99.0) is None
    assert (trials.end(2, 3.0), trials.complete) == (None, False)
    assert (trials.end(0, 2.0), trials.complete) == (None, True)
    assert trials.fitness().tolist() == [2.0, 3.0]


class Probe(PolicySearch):
    """Candidate k of round r has parameters that are all 100 r + k; keeps the fitness that it is given."""

    defaults = PolicySearchConfig(hidden_sizes=())
    count = 5

    def prepare(self) -> None:
        self.round, self.selected = 0, list[list[float]]()

    parameters = property(lambda self: self.first)

    def propose(self) -> None:
        self.begin(range(self.count), self.config.episodes)

    def candidate(self, index: int) -> Tensor:
        return torch.full_like(self.first, 100 * self.round + index)

    def select(self, fitness: Tensor) -> dict[str, Tensor]:
        self.selected.append(fitness.tolist())
        self.round += 1
        self.propose()
        return {}

    def scheduled(self) -> dict[str, float]:
        return {}

    learned = generation = scheduled
    load_learned = load_generation = lambda self, state: None


@pytest.mark.parametrize("num_envs", [1, 2, 3, 7, 12])
@pytest.mark.parametrize("episodes", [1, 3])
def test_every_episode_has_one_candidate_and_counts_once(num_envs: int, episodes: int) -> None:
    """Against a log of who acted when: the first episodes that a candidate begins are the ones that count."""
    assert len(set(LENGTHS)) > 3
    env = make(lambda: Scripted(), num_envs, seed=0, vectorization="serial")
    agent = Probe(
        env.single_observation_space,
        env.single_action_space,
        PolicySearchConfig(hidden_sizes=(), episodes=episodes),
        num_envs=num_envs,
    )
    run, total, steps = Run(agent, env), np.zeros(num_envs), 0
    playing: list[int | None] = [None] * num_envs
    begun: list[tuple[int, float | None]] = []  # candidate and return of all episodes, in the order of their beginning
    number = [0] * num_envs
    while agent.round < 4:
        started = env.start.tolist()
        acting = [int(row[0]) for row in agent.rows] if agent.trials.candidates else [0] * num_envs
        for row in range(num_envs):
            if started[row]:
                playing[row], number[row] = acting[row], len(begun)
                begun.append((acting[row], None))
            assert playing[row] == acting[row], "two candidates in one episode"
        step = run.step()
        steps += step.num_active
        total += step.reward.numpy()
        for row in step.ended.nonzero().flatten().tolist():
            begun[number[row]] = (begun[number[row]][0], float(total[row]))
            total[row] = 0.0
    for index, fitness in enumerate(agent.selected):
        for candidate, mean in enumerate(fitness):
            returns = [value for name, value in begun if name == 100 * index + candidate][:episodes]
            assert None not in returns
            assert mean == pytest.approx(np.mean(returns))
    assert (agent.env_step, agent.updates) == (steps, 4)


def test_terminated_and_truncated_episodes_count_alike() -> None:
    agent = Probe(BOX, spaces.Discrete(2), num_envs=3)
    agent.actor(3, explore=True, seed=0).act(torch.zeros(3, 2), torch.ones(3, dtype=torch.bool))
    for terminated, truncated, returns in (
        (torch.tensor([True, False, True]), torch.tensor([False, True, True]), tensor(1.0, 2.0, 3.0)),
        (torch.tensor([False, True, False]), torch.tensor([True, False, False]), tensor(5.0, 4.0, np.nan)),
    ):
        ended = terminated | truncated
        step = Step(
            obs=torch.zeros(3, 2),
            start=ended,
            next_obs=torch.zeros(3, 2),
            reward=torch.zeros(3),
            terminated=terminated,
            truncated=truncated,
            num_active=3,
            num_ended=int(ended.sum()),
            episode_return=returns,
            episode_length=torch.ones(3, dtype=torch.int64),
        )
        agent.store(torch.zeros(3, 2), Acted(torch.zeros(3)), step)
    assert agent.updates_due(6) == 1
    agent.learn()
    assert agent.selected == [[1.0, 2.0, 3.0, 5.0, 4.0]]


@EACH
def test_where_nothing_is_random_the_number_of_rows_changes_nothing(name: str) -> None:
    learned = []
    for num_envs in (1, 3, 20):
        env = make("gymnast/Chain-v0", num_envs, seed=num_envs, max_episode_steps=9)
        learned.append(Run(made(name, env), env, seed=num_envs).until(updates=8).parameters.clone())
    assert torch.equal(learned[0], learned[1])
    assert torch.equal(learned[0], learned[2])
    assert not torch.equal(learned[0], made(name, env).first)


# Networks by flat vectors.

IMAGE = spaces.Box(0, 255, (4, 84, 84), np.uint8)
OBSERVATIONS: dict[str, tuple[gym.Space[Any], str, Sequence[int]]] = {
    "mlp": (spaces.Box(-1, 1, (3,)), "mlp", (5, 4)),
    "linear": (spaces.Box(-1, 1, (3, 2)), "mlp", ()),
    "one-hot": (spaces.Discrete(4, start=2), "mlp", (5,)),
    "dict": (spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.MultiDiscrete([2, 3])), "mlp", (5,)),
    "nature-cnn": (IMAGE, "auto", (6,)),
    "minatar-cnn": (spaces.Box(0, 1, (10, 10, 4), np.float32), "minatar-cnn", (6,)),
    "combined": (spaces.Dict(a=IMAGE, b=spaces.Discrete(3)), "auto", (6,)),
}


def batch(space: gym.Space[Any], count: int) -> Any:
    space.seed(1)
    samples = [space.sample() for _ in range(count)]
    if isinstance(space, spaces.Dict):
        return {key: torch.from_numpy(np.stack([sample[key] for sample in samples])) for key in space.spaces}
    return torch.from_numpy(np.stack(samples))


def row(obs: Any, index: int) -> Any:
    if isinstance(obs, dict):
        return {key: row(part, index) for key, part in obs.items()}
    return obs[index : index + 1]


@pytest.mark.parametrize("kind", OBSERVATIONS)
@torch.no_grad()
def test_stacked_equals_separate_networks(kind: str) -> None:
    space, name, sizes = OBSERVATIONS[kind]
    draw = generator(4)
    networks = [
        with_output(
            build(name, space, hidden_sizes=sizes, activation="tanh", init="torch", generator=draw),
            2,
            init="torch",
            generator=draw,
        )
        for _ in range(3)
    ]
    obs, vectors = batch(space, 3), torch.stack([flat_vector(network) for network in networks])
    stacked = Stacked(networks[0])
    assert stacked.size == vectors.shape[1] == sum(weight.numel() for weight in networks[0].parameters())
    each = torch.cat([network(row(obs, index)) for index, network in enumerate(networks)])
    torch.testing.assert_close(stacked(vectors, obs), each, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(stacked(vectors[1], obs), networks[1](obs), atol=1e-5, rtol=1e-5)
    assert each.unique(dim=0).shape[0] == 3


def test_the_output_layer_is_scaled() -> None:
    one, tenth = (with_output(Features(), 2, init="xavier", scale=scale, generator=generator()) for scale in (1.0, 0.1))
    torch.testing.assert_close(tenth.output.weight, one.output.weight * 0.1)


class Features(nn.Module):
    """A backbone of one's own, with a layer whose parameters are not all of the same kind."""

    out_features = 3

    def __init__(self, observation_space: gym.Space[Any] | None = None) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.layer = nn.Linear(2, 3, bias=False)

    def forward(self, obs: Tensor) -> Tensor:
        return torch.relu(self.layer(obs)) * self.scale


def test_a_backbone_of_ones_own_is_searched_too() -> None:
    env = make(lambda: gym.wrappers.TransformObservation(Scripted(), lambda obs: obs[:2], BOX), 2, seed=0)
    config = HillClimbingConfig(episodes=1)  # so that two rows have two candidates
    agent = HillClimbing(BOX, env.single_action_space, config, num_envs=2, network=Features())
    assert agent.network.size == 1 + 6 + 3 * 3 + 3
    before = agent.first.clone()
    agent.propose()
    assert agent.rows.unique(dim=0).shape == (2, agent.network.size)
    assert torch.equal(agent.parameters, before)


# Actions.


def test_discrete_takes_the_largest_output_that_is_allowed() -> None:
    outputs, choose = chooser(spaces.Discrete(3, start=5))
    assert outputs == 3
    output = torch.tensor([[0.0, 2.0, 1.0], [3.0, -1.0, 2.0], [1.0, 1.0, 0.0], [1.0, 0.0, 2.0]])
    assert choose(output, None).tolist() == [6, 5, 5, 7]
    mask = torch.tensor([[True, False, True], [True, True, True], [False, True, True], [False, False, False]])
    assert choose(output, mask).tolist() == [7, 5, 6, 5]
    assert chooser(spaces.Discrete(3))[1](output, mask).tolist() == [2, 0, 1, 0]


def test_multi_discrete_takes_the_largest_output_of_each_part() -> None:
    space = spaces.MultiDiscrete([2, 3], start=[10, 0])
    outputs, choose = chooser(space)
    assert outputs == 5
    assert choose(torch.tensor([[1.0, 0.0, 0.0, 0.0, 9.0], [0.0, 1.0, 3.0, 2.0, 1.0]]), None).tolist() == [
        [10, 2],
        [11, 0],
    ]
    outputs, choose = chooser(spaces.MultiDiscrete([[2, 2], [2, 3]]))
    assert choose(torch.arange(9.0).unsqueeze(0), None).tolist() == [[[1, 1], [1, 2]]]


def test_multi_binary_is_one_where_the_output_is_positive() -> None:
    outputs, choose = chooser(spaces.MultiBinary([2, 2]))
    action = choose(torch.tensor([[1.0, -1.0, 0.0, 0.1]]), None)
    assert (outputs, action.dtype, action.tolist()) == (4, torch.int8, [[[1, 0], [0, 1]]])


def test_box_is_squashed_between_finite_bounds_and_clipped_at_others() -> None:
    low, high = np.float32([-2.0, 0.0, -np.inf, -np.inf]), np.float32([4.0, np.inf, 1.0, np.inf])
    outputs, choose = chooser(spaces.Box(low, high))
    assert outputs == 4
    action = choose(torch.tensor([[0.5, -3.0, 3.0, 7.0], [-99.0, 3.0, -3.0, -7.0]]), None)
    squashed = 1 + 3 * math.tanh(0.5)
    torch.testing.assert_close(action, torch.tensor([[squashed, 0.0, 1.0, 7.0], [-2.0, 3.0, -3.0, -7.0]]))
    large = np.finfo(np.float32).max
    outputs, choose = chooser(spaces.Box(-large, large, (1, 2), np.float32))
    assert choose(torch.tensor([[99.0, 0.0]]), None).tolist() == [[[large, 0.0]]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_actions_lie_in_the_space(dtype: Any) -> None:
    for space in (
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([2, 4], start=[1, -3]),
        spaces.MultiBinary(3),
        spaces.Box(np.asarray([-0.1, 0.3], dtype), np.asarray([0.7, np.inf], dtype), dtype=dtype),
        spaces.Box(-1, 1, (), dtype),
    ):
        outputs, choose = chooser(space)
        for action in choose(20 * torch.randn(200, outputs, generator=generator()), None):
            given = action.numpy() if action.dim() or isinstance(space, spaces.Box) else np.int64(action.item())
            assert space.contains(given), (space, given)


def test_other_action_spaces_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a policy cannot act in a Text space; use Discrete, .* or Box$"):
        chooser(spaces.Text(3))
    with pytest.raises(
        ValueError, match=r"a policy cannot act in a Box of uint8; use a Box of floats or MultiDiscrete$"
    ):
        chooser(spaces.Box(0, 255, (2,), np.uint8))


def test_masks_are_heeded_unless_told_otherwise() -> None:
    for heeded, expected in ((True, {1, 2}), (False, {0, 1, 2})):
        config = HillClimbingConfig(hidden_sizes=(), action_masks=heeded)
        agent = HillClimbing(BOX, spaces.Discrete(3), config)
        mask, obs = torch.tensor([[False, True, True]]).expand(64, 3), torch.randn(64, 2, generator=generator())
        acted = agent.actor(64, explore=False, seed=0).act(obs, torch.ones(64, dtype=torch.bool), mask)
        assert set(acted.action.tolist()) <= expected
        assert (0 in acted.action.tolist()) is not heeded


# States.


@EACH
@pytest.mark.parametrize("num_envs", [1, 3])
def test_a_loaded_agent_goes_on_exactly(name: str, num_envs: int) -> None:
    """Stopped in the middle of a generation and of episodes; `test_resume.py` does it from the files of a run."""
    env = make("CartPole-v1", num_envs, seed=3, max_episode_steps=25)
    run = Run(made(name, env), env)
    for updates in (0, 5):
        run.until(updates=updates)
        for _ in range(17):
            run.step()
        file = io.BytesIO()
        torch.save({"agent": run.agent.state_dict(), "env": env.snapshot()}, file)
        file.seek(0)
        state = torch.load(file, weights_only=True)
        other_env = make("CartPole-v1", num_envs, seed=99, max_episode_steps=25)
        other = Run(made(name, other_env, seed=99), other_env)
        other.agent.load_state_dict(state["agent"])
        other_env.restore(state["env"])
        for _ in range(300):
            run.step()
            other.step()
        assert other.agent.updates == run.agent.updates > updates
        left, right = run.agent.state_dict(), other.agent.state_dict()
        assert torch.equal(run.agent.parameters, other.agent.parameters)
        assert torch.equal(left["replay"]["rows"], right["replay"]["rows"])
        assert left["replay"]["trials"] == right["replay"]["trials"]
        assert torch.equal(left["generator"], right["generator"])


@EACH
def test_a_state_without_the_generation_under_way_begins_a_new_one(name: str) -> None:
    env = make("CartPole-v1", 2, seed=3)
    run = Run(made(name, env), env)
    run.until(updates=4)
    state = {key: value for key, value in run.agent.state_dict().items() if key != "replay"}
    other_env = make("CartPole-v1", 1, seed=4)
    other = made(name, other_env, seed=99)
    other.load_state_dict(state)
    assert torch.equal(other.parameters, run.agent.parameters)
    assert (other.env_step, other.updates) == (run.agent.env_step, 4)
    assert Run(other, other_env).until(updates=6).updates == 6


@EACH
def test_evaluation_changes_nothing(name: str) -> None:
    env = make("CartPole-v1", 2, seed=3)
    run = Run(made(name, env), env)
    run.until(updates=2)
    run.step()
    before = io.BytesIO()
    torch.save(run.agent.state_dict(), before)
    result = evaluate(run.agent, "CartPole-v1", episodes=3)
    after = io.BytesIO()
    torch.save(run.agent.state_dict(), after)
    assert before.getvalue() == after.getvalue()
    assert result == evaluate(run.agent, "CartPole-v1", episodes=3, num_envs=1)


def test_a_state_of_another_agent_is_refused() -> None:
    agent = linear(HillClimbing, HillClimbingConfig(), num_envs=2)
    agent.propose()
    state = agent.state_dict()
    with pytest.raises(ValueError, match="the checkpoint's policy has 3 parameters, this agent's has 4"):
        HillClimbing(spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (1,)), agent.config).load_state_dict(state)
    with pytest.raises(ValueError, match="the checkpoint has 2 environments, this agent has 1"):
        linear(HillClimbing, HillClimbingConfig()).load_state_dict(state)
    with pytest.raises(ValueError, match="num_envs must be 2, the agent's, to explore, got 3"):
        agent.actor(3, explore=True, seed=0)


# Options.

WRONG = [
    (PolicySearchConfig, {"episodes": 0}, "episodes must be >= 1, got 0"),
    (PolicySearchConfig, {"hidden_sizes": (8, 0)}, r"hidden_sizes must be numbers >= 1, got \(8, 0\)"),
    (PolicySearchConfig, {"activation": "rely"}, "activation must be one of relu, .*, got 'rely'"),
    (PolicySearchConfig, {"init": "zero"}, "init must be one of orthogonal, .*, got 'zero'"),
    (PolicySearchConfig, {"output_scale": -1.0}, "output_scale must be >= 0, got -1.0"),
    (HillClimbingConfig, {"population_size": 0}, "population_size must be >= 1, got 0"),
    (HillClimbingConfig, {"noise_scale": 9.0}, "noise_scale must be between min_noise_scale > 0 and .*, got 9.0"),
    (HillClimbingConfig, {"min_noise_scale": 0.0}, "noise_scale must be between min_noise_scale > 0"),
    (HillClimbingConfig, {"noise_shrink": 1.5}, "noise_shrink must be > 0 and <= 1, got 1.5"),
    (HillClimbingConfig, {"noise_growth": 0.5}, "noise_growth must be >= 1, got 0.5"),
    (HillClimbingConfig, {"noise_growth": float("inf")}, "noise_growth must be finite, got inf"),
    (GeneticAlgorithmConfig, {"population_size": 1}, "population_size must be >= 2, got 1"),
    (GeneticAlgorithmConfig, {"parents": 0}, "parents must be >= 1, got 0"),
    (GeneticAlgorithmConfig, {"parents": 9999}, "parents must be <= population_size .*, got 9999"),
    (GeneticAlgorithmConfig, {"elite_candidates": 9999}, "elite_candidates must be <= population_size .*, got 9999"),
    (GeneticAlgorithmConfig, {"elite_episodes": -1}, "elite_episodes must be >= 0, got -1"),
    (GeneticAlgorithmConfig, {"sigma": -0.1}, "sigma must be >= 0, got -0.1"),
    (GeneticAlgorithmConfig, {"sigma": "linaer:1:0:5"}, "sigma must be a number or one of .*did you mean linear"),
    (GeneticAlgorithmConfig, {"crossover": 1.1}, "crossover must be between 0 and 1, got 1.1"),
    (EvolutionStrategiesConfig, {"population_size": 7}, "population_size must be an even number >= 2, got 7"),
    (EvolutionStrategiesConfig, {"sigma": 0.0}, "sigma must be >= 1e-08, got 0.0"),
    (EvolutionStrategiesConfig, {"sigma": "linear:1:0:100"}, "sigma must be >= 1e-08, got linear:1:0:100"),
    (EvolutionStrategiesConfig, {"learning_rate": -1.0}, "learning_rate must be >= 0, got -1.0"),
    (EvolutionStrategiesConfig, {"optimizer": "adan"}, "optimizer must be one of .*, got 'adan'; did you mean"),
    (EvolutionStrategiesConfig, {"optimizer": "sgd", "optimizer_eps": 1e-5}, "optimizer_eps has no effect"),
    (EvolutionStrategiesConfig, {"optimizer_eps": 0.0}, "optimizer_eps must be > 0, got 0.0"),
    (EvolutionStrategiesConfig, {"weight_decay": float("nan")}, "weight_decay must be >= 0, got nan"),
]


@pytest.mark.parametrize(("config", "changes", "message"), WRONG)
def test_a_wrong_option_is_told_in_one_line(config: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        config(**changes)
    assert "\n" not in str(caught.value)


def test_spaces_that_no_policy_fits_are_refused() -> None:
    with pytest.raises(ValueError, match="a policy cannot act in a Tuple space"):
        HillClimbing(BOX, spaces.Tuple([spaces.Discrete(2)]))
    with pytest.raises(ValueError, match="a network cannot read a Text observation"):
        HillClimbing(spaces.Text(3), spaces.Discrete(2))
