"""`agent.predict`: plain observations in, actions of the environment out, with masks and memory, for every agent."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast import agents
from gymnast.agents import (
    DQN,
    ActorCritic,
    ActorCriticConfig,
    DQNConfig,
    EvolutionStrategies,
    OffPolicyActorCritic,
    OffPolicyActorCriticConfig,
    Predictor,
    QLearning,
    QLearningConfig,
    Reinforce,
    ValueIteration,
    ValueIterationConfig,
    predict,
)
from gymnast.agents.base import Acted
from gymnast.agents.prediction import predicting_actor
from gymnast.agents.table import ALGORITHMS, CLASSES, python_name

BOX = spaces.Box(-1.0, 1.0, (4,))
TWO = spaces.Discrete(2)
SPACES: dict[str, tuple[gym.Space[Any], gym.Space[Any]]] = {
    **dict.fromkeys(("value-iteration", "policy-iteration"), (spaces.Discrete(5), spaces.Discrete(3, start=1))),
    **dict.fromkeys(("ucb", "thompson"), (spaces.Discrete(1), spaces.Discrete(3))),
}
UNMASKED = ("value-iteration", "policy-iteration", "ucb", "thompson")
"""Agents that plan on a table or pull arms, for which masks mean nothing."""
IN_A_BOX = ("ddpg", "td3", "tqc")
"""Agents that take Box actions only."""
TABLES = ("q-learning", "sarsa", "expected-sarsa", "double-q-learning", "n-step-sarsa", "td", "dyna-q")
ACTIONS = {
    "box": spaces.Box(-2.0, 2.0, (3,), np.float64),
    "multi": spaces.MultiDiscrete([3, 4]),
    "binary": spaces.MultiBinary(3),
}


def greedy(agent: Any, obs: torch.Tensor) -> Any:
    return agent.actor(len(obs), explore=False, seed=0).act(obs, torch.ones(len(obs), dtype=torch.bool)).action


@pytest.mark.parametrize("name", sorted({*CLASSES, *ALGORITHMS} - set(IN_A_BOX)))
def test_every_agent_predicts_what_it_would_do(name: str) -> None:
    box = BOX if name not in TABLES else spaces.Discrete(7)
    space, actions = SPACES.get(name, (box, spaces.Discrete(3, start=1)))
    agent = getattr(agents, python_name(name))(space, actions, seed=1)
    space.seed(0)
    rows = np.stack([space.sample() for _ in range(5)])
    for deterministic in (True, False):
        action = agent.predict(rows[0], deterministic=deterministic)
        assert type(action) is int
        assert actions.contains(action)
        batch = agent.predict(rows, deterministic=deterministic)
        assert batch.shape == (5,)
        assert all(actions.contains(one) for one in batch)
    if name not in ("td", "iqn"):
        assert agent.predict(rows, start=True).tolist() == greedy(agent, torch.from_numpy(rows)).tolist()
        assert [agent.predict(row, start=True) for row in rows] == agent.predict(rows, start=True).tolist()
    if name not in UNMASKED:
        allowed = np.arange(actions.n) == 1
        for deterministic in (True, False):
            found = agent.predict(rows[0], deterministic=deterministic, start=True, action_mask=allowed)
            assert found == actions.start + 1
    assert agent.env_step == agent.updates == 0
    assert getattr(agent, "replay", None) is None  # a replay is for training


@pytest.mark.parametrize("name", IN_A_BOX)
def test_agents_that_act_in_a_box_predict_what_they_would_do(name: str) -> None:
    actions = ACTIONS["box"]
    agent = getattr(agents, python_name(name))(BOX, actions, seed=1)
    rows = np.random.default_rng(0).uniform(-1, 1, (5, 4)).astype(np.float32)
    for deterministic in (True, False):
        found = agent.predict(rows, deterministic=deterministic)
        assert (found.shape, found.dtype) == ((5, 3), actions.dtype)
        assert all(actions.contains(one) for one in found)
    np.testing.assert_allclose(agent.predict(rows, start=True), greedy(agent, torch.from_numpy(rows)), rtol=1e-5)
    assert actions.contains(agent.predict(rows[0]))


@pytest.mark.parametrize("cls", [ActorCritic, Reinforce, EvolutionStrategies])
@pytest.mark.parametrize("name", ACTIONS)
def test_actions_are_of_their_space(cls: Any, name: str) -> None:
    space = ACTIONS[name]
    agent = cls(BOX, space, seed=2)
    for deterministic in (True, False):
        action = agent.predict([0.1, 0.2, 0.3, 0.4], deterministic=deterministic)
        assert isinstance(action, np.ndarray)
        assert action.dtype == space.dtype
        assert space.contains(action)
        assert agent.predict(np.zeros((6, 4)), deterministic=deterministic).shape == (6, *space.shape)


def test_plain_values_of_every_kind() -> None:
    agent = DQN(BOX, TWO, seed=3)
    values = [0.25, -0.5, 1.0, 0.0]
    expected = agent.predict(np.array(values, np.float32))
    for given in (values, tuple(values), np.array(values), torch.tensor(values), torch.tensor(values).double()):
        assert agent.predict(given) == expected
    assert agent.predict([values, values]).tolist() == [expected, expected]
    table = QLearning(spaces.Discrete(4, start=2), TWO)
    table.q[0, 3, 1] = 1.0
    for five in (5, np.int64(5), np.array(5), np.int8(5)):
        assert table.predict(five) == 1
    assert table.predict([5, 2]).tolist() == [1, 0]


def test_images_and_parts() -> None:
    image = spaces.Box(0, 255, (1, 36, 36), np.uint8)
    space = spaces.Dict({"picture": image, "pair": spaces.Tuple([spaces.Discrete(3), spaces.Box(-1, 1, (2,))])})
    agent = ActorCritic(space, TWO, ActorCriticConfig(), seed=4)
    one = {"picture": np.full((1, 36, 36), 7, np.uint8), "pair": (2, np.array([0.5, -0.5], np.float32))}
    action = agent.predict(one)
    assert type(action) is int
    two = {"picture": np.stack([one["picture"]] * 2), "pair": (np.array([2, 2]), np.array([[0.5, -0.5]] * 2))}
    assert agent.predict(two).tolist() == [action, action]
    with pytest.raises(ValueError, match="without the part 'pair' of its space"):
        agent.predict({"picture": one["picture"]})
    with pytest.raises(ValueError, match="parts have different numbers of rows"):
        agent.predict({**two, "picture": one["picture"]})


@pytest.mark.parametrize(
    ("space", "given", "message"),
    [
        (BOX, [0.0, 1.0], r"predict was given an observation of shape \(2,\) but its space says \(4,\), or \(N, 4\)"),
        (BOX, np.zeros((2, 2, 4)), r"of shape \(2, 2, 4\)"),
        (BOX, np.zeros((0, 4)), r"of shape \(0, 4\)"),
        (BOX, ["a", "b", "c", "d"], "predict was given an observation that is not an array of numbers"),
        (BOX, [[0.0], [1.0, 2.0]], "predict was given an observation that is not an array of numbers"),
        (BOX, np.full(4, 1e300), "predict was given .* in an observation, which float32 cannot hold"),
        (spaces.Discrete(3), 3, "predict was given the observation 3 but its space says 0 to 2"),
        (spaces.Discrete(3), 0.5, "predict was given 0.5 in an observation of float64"),
        (spaces.Box(0, 255, (2,), np.uint8), [300, 0], "predict was given 300 in an observation of int64"),
    ],
)
def test_what_is_no_observation_is_one_line(space: gym.Space[Any], given: Any, message: str) -> None:
    agent = ActorCritic(space, TWO, ActorCriticConfig())
    with pytest.raises(ValueError, match=message) as found:
        agent.predict(given)
    assert len(str(found.value).splitlines()) == 1


@pytest.mark.parametrize("deterministic", [True, False])
def test_masks(deterministic: bool) -> None:
    for agent in (DQN(BOX, spaces.Discrete(4)), ActorCritic(BOX, spaces.Discrete(4))):
        for only in range(4):
            mask = np.arange(4) == only
            for given in (mask, mask.astype(np.int8), mask.tolist()):
                assert agent.predict(np.zeros(4), deterministic=deterministic, action_mask=given) == only
        both = np.eye(4, dtype=bool)[[2, 0]]
        assert agent.predict(np.zeros((2, 4)), deterministic=deterministic, action_mask=both).tolist() == [2, 0]
    multi = ActorCritic(BOX, spaces.MultiDiscrete([2, 3]))
    parts = (np.array([False, True]), np.array([True, False, False]))
    assert multi.predict(np.zeros(4), deterministic=deterministic, action_mask=parts).tolist() == [1, 0]


def test_a_wrong_mask_is_one_line() -> None:
    agent = DQN(BOX, spaces.Discrete(4))
    with pytest.raises(ValueError, match=r"predict was given the action mask .*, but its actions need one of shape"):
        agent.predict(np.zeros(4), action_mask=[True, False])
    with pytest.raises(ValueError, match="predict was given one action mask for 2 observations"):
        agent.predict(np.zeros((2, 4)), action_mask=[True, False, True, True])
    for none in (agent, QLearning(spaces.Discrete(3), spaces.Discrete(4))):
        obs = none.observation_space.sample()
        with pytest.raises(ValueError, match=r"predict was given the action mask \[False, .*, which allows no action"):
            none.predict(obs, action_mask=[0, 0, 0, 0])
    given = np.array([False, True, False, False])
    assert agent.predict(np.zeros(4), action_mask=given) == 1
    assert given.tolist() == [False, True, False, False]


def test_a_start_of_another_shape_is_one_line() -> None:
    agent = DQN(BOX, spaces.Discrete(4))
    with pytest.raises(ValueError, match=r"predict was given start of shape \(3,\) for 2 observations"):
        agent.predict(np.zeros((2, 4)), start=[True, False, True])


RECURRENT = [
    lambda: DQN(BOX, spaces.Discrete(6), DQNConfig(recurrent="lstm", memory_size=8, init="xavier"), seed=5),
    lambda: ActorCritic(BOX, spaces.Box(-1, 1, (2,)), ActorCriticConfig(recurrent="gru", minibatches=1), seed=5),
    lambda: OffPolicyActorCritic(
        BOX, spaces.Box(-1, 1, (2,)), OffPolicyActorCriticConfig(recurrent="gru", memory_size=8), seed=5
    ),
]


@pytest.mark.parametrize("make", RECURRENT)
def test_memory_goes_on_until_an_episode_begins(make: Any) -> None:
    agent, other = make(), make()
    obs = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (12, 4)).astype(np.float32))
    actor = other.actor(1, explore=False, seed=0)
    starts = [True, *[False] * 5, True, *[False] * 5]
    expected = [actor.act(obs[i : i + 1], torch.tensor([starts[i]])).action[0] for i in range(12)]
    found = [agent.predict(obs[i].numpy(), start=None if i == 0 else starts[i]) for i in range(12)]
    assert all(np.allclose(one, two.numpy()) for one, two in zip(found, expected, strict=True))
    agent.predict(obs[0].numpy(), deterministic=False)  # the same episode, in another way
    drawing = predicting_actor(other, 1, deterministic=False)
    drawing.load_state_dict(actor.state_dict())
    drawing.act(obs[:1], torch.tensor([False]))
    assert torch.equal(agent._predictor._actor.memory, drawing.memory)


def test_rows_begin_episodes_of_their_own() -> None:
    agent = RECURRENT[0]()
    obs = np.random.default_rng(1).uniform(-1, 1, (3, 4))
    agent.predict(obs)
    agent.predict(obs, start=[False, True, False])
    memory = agent._predictor._actor.memory.clone()
    other = RECURRENT[0]()
    other.predict(obs)
    assert torch.allclose(memory[1], other._predictor._actor.memory[1])
    assert not torch.allclose(memory[0], other._predictor._actor.memory[0])


def test_streams_side_by_side() -> None:
    agent = RECURRENT[0]()
    one, two = Predictor(agent), Predictor(agent)
    obs = np.random.default_rng(2).uniform(-1, 1, (8, 4))
    separate = [one.predict(row) for row in obs]
    assert separate == [two.predict(row) for row in obs]


def test_a_table_under_a_horizon_counts_the_steps_of_an_episode() -> None:
    agent = ValueIteration(spaces.Discrete(2), TWO, ValueIterationConfig(horizon=3))
    agent.q[0, 0, 1] = agent.q[2, 0, 1] = 1.0
    assert [agent.predict(0) for _ in range(4)] == [1, 0, 1, 1]
    assert agent.predict(0, start=True) == 1
    assert agent.predict(0) == 0


def test_greedy_means_greedy() -> None:
    """Whatever the config says of evaluations."""
    agent = DQN(BOX, spaces.Discrete(9), DQNConfig(eval_epsilon=1.0), seed=6)
    assert len({agent.predict(np.zeros(4)) for _ in range(20)}) == 1
    assert len({agent.predict(np.zeros(4), deterministic=False) for _ in range(40)}) > 1
    policy = ActorCritic(BOX, spaces.Discrete(9), ActorCriticConfig(eval_sample=True), seed=6)
    assert len({policy.predict(np.zeros(4)) for _ in range(20)}) == 1
    assert len({policy.predict(np.zeros(4), deterministic=False) for _ in range(40)}) > 1


def test_prediction_follows_what_is_learned() -> None:
    agent = QLearning(spaces.Discrete(2), TWO, QLearningConfig())
    assert agent.predict(0) == 0
    agent.q[0, 0, 1] = 1.0
    assert agent.predict(0) == 1


def test_an_agent_of_a_users_own() -> None:
    class Mine:
        observation_space, action_space = BOX, spaces.Discrete(3, start=1)

        def actor(self, num_envs: int, *, explore: bool, seed: Any) -> Any:
            return self

        def act(self, obs: Any, start: Any, action_mask: Any = None) -> Any:
            return Acted((obs[:, 0] > 0).long() + 1)

    mine: Any = Mine()
    assert predict(mine, [0.5, 0, 0, 0]) == 2
    assert predict(mine, np.zeros((2, 4))).tolist() == [1, 1]
