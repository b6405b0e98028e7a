"""World models: what the model learns from, dreams in batches, acting, and learning."""

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast import envs
from gymnast.agents import WorldModels, WorldModelsConfig
from gymnast.agents.base import Acted, WorldModel
from gymnast.agents.world_models import world_models_dream as dream
from gymnast.cli.main import main
from gymnast.envs.step import Step
from gymnast.networks.world_models.mixture import Mixture

SMALL: dict[str, Any] = {
    "learning_starts": 30,
    "replay_size": 2_000,
    "units": 8,
    "batch_size": 8,
    "sequence_length": 8,
    "vae_updates": 3,
    "model_updates": 3,
    "generations": 2,
    "population_size": 4,
    "rollouts": 3,
    "dream_steps": 12,
}
FLOATS = spaces.Box(-1.0, 1.0, (2,), np.float32)
IMAGES = spaces.Box(0, 255, (40, 36, 3), np.uint8)


def made(
    observation_space: Any = FLOATS, action_space: Any = None, *, num_envs: int = 1, **changes: Any
) -> WorldModels:
    config = WorldModelsConfig(**{**SMALL, **changes})
    return WorldModels(observation_space, action_space or spaces.Discrete(3), config, num_envs=num_envs, seed=1)


class Counting(gym.Env[np.ndarray, Any]):
    """Shows the step of the episode and the action before; the reward is 10 * step + action; every third one ends."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Discrete(3, start=1)

    def __init__(self, length: int = 5) -> None:
        self.length, self.time, self.count = length, 0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        self.count += 1
        return np.array([0.0, 0.0], np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = 10.0 * self.time + float(action)
        self.time += 1
        over = self.time == self.length + self.count % 3
        ends = over and self.count % 2 == 0
        return np.array([self.time, action], np.float32), reward, ends, over and not ends, {}


def played(agent: WorldModels, env: Any, steps: int, *, learn: bool = False) -> None:
    """Have an agent act, store and perhaps learn in an environment."""
    actor = agent.actor(env.num_envs, explore=True, seed=0)
    env.reset()
    while agent.env_step < steps:
        obs, acted = env.obs, actor.act(env.obs, env.start)
        agent.store(obs, acted, env.step(acted.action))
        for _ in range(agent.updates_due(agent.env_step) if learn else 0):
            agent.learn()


# What the model learns from.


class Spied:
    """A mixture that keeps the numbers whose likelihood is asked for."""

    def __init__(self, mixture: Mixture, seen: dict[str, Any]) -> None:
        self.mixture, self.seen = mixture, seen

    def log_likelihood(self, value: Tensor) -> Tensor:
        self.seen["likely"] = value
        return self.mixture.log_likelihood(value)


@pytest.mark.parametrize("num_envs", [1, 3])
def test_each_step_is_paired_with_its_own_action_reward_end_and_successor(
    num_envs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 16: at every index of a sequence, over the ends of episodes."""
    env = envs.make(Counting, num_envs, seed=0)
    agent = made(Counting.observation_space, Counting.action_space, num_envs=num_envs)
    played(agent, env, 400)
    seen: dict[str, Any] = {}
    dynamics = agent.model.dynamics
    forward, outcomes = dynamics.forward, dynamics.outcomes

    def spied(latent: Tensor, action: Tensor, start: Tensor) -> Any:
        seen.update(latent=latent, action=action, start=start)
        mixture, output = forward(latent, action, start)
        return Spied(mixture, seen), output

    def outcome(output: Tensor, following: Tensor) -> Any:
        seen["following"] = following
        return outcomes(output, following)

    monkeypatch.setattr(dynamics, "forward", spied)
    monkeypatch.setattr(dynamics, "outcomes", outcome)
    agent.allocate()
    ends = 0
    for _ in range(30):
        batch = agent.replay.sample()  # type: ignore[union-attr]
        agent.model._dynamics_loss(batch, None)
        time, valid = (
            agent.model.latents.decode(seen["latent"].flatten(0, 1))[:, 0].view(batch.valid.shape),
            batch.valid,
        )
        following = agent.model.latents.decode(seen["following"].flatten(0, 1)).view(*batch.valid.shape, 2)
        action = seen["action"].argmax(2) + 1  # the space counts from 1
        assert torch.equal(seen["likely"], seen["following"])
        assert torch.equal(seen["start"] & (valid > 0), (time.round() == 0) & (valid > 0))
        counted = valid > 0
        assert torch.allclose(following[..., 0][counted], time[counted] + 1)
        assert torch.allclose(following[..., 1][counted], action[counted].float())
        assert torch.allclose(batch.reward[counted], (10 * time + action)[counted], atol=1e-3)
        later = torch.roll(valid, -1, 1)[:, :-1]  # a final observation follows the last step of an episode
        last = counted[:, :-1] & (later == 0)
        assert torch.equal(last & (batch.discount[:, :-1] == 0), counted[:, :-1] & (batch.discount[:, :-1] == 0))
        ends += int(((batch.discount == 0) & counted).sum())
    assert ends > 20


def test_a_loss_counts_only_the_steps_that_hold_a_transition() -> None:
    agent = made(Counting.observation_space, Counting.action_space)
    played(agent, envs.make(Counting, 1, seed=0), 300)
    batch = agent.allocate().sample()
    assert 0 < batch.valid.mean() < 1
    before = agent.model._dynamics_loss(batch, None)[0].item()
    batch.reward[batch.valid == 0] = 1e6
    batch.discount[batch.valid == 0] = 0.5
    assert agent.model._dynamics_loss(batch, None)[0].item() == before
    batch.reward[batch.valid > 0] = 1e3
    assert agent.model._dynamics_loss(batch, None)[0].item() != before


def test_units_are_those_of_the_first_batch() -> None:
    agent = made(Counting.observation_space, Counting.action_space)
    played(agent, envs.make(Counting, 1, seed=0), 300)
    batch = agent.allocate().sample()
    agent.model.start_at(batch)
    latent = agent.model.latents.encode(batch.obs["obs"].flatten(0, 1))
    assert torch.allclose(latent.mean(0), torch.zeros(2), atol=1e-5)
    assert torch.allclose(latent.std(0, correction=0), torch.ones(2), atol=1e-5)
    counted = batch.reward[batch.valid > 0]
    assert agent.model.dynamics.reward_mean.item() == pytest.approx(counted.mean().item())


def test_only_true_first_observations_begin_dreams() -> None:
    env = envs.make(Counting, 2, seed=0)
    agent = made(Counting.observation_space, Counting.action_space, num_envs=2)
    played(agent, env, 100)
    state, obs = agent.dream_start(50, torch.Generator().manual_seed(0))
    assert agent.beginnings.episodes > 10
    assert isinstance(obs, Tensor)
    assert obs.eq(0).all()  # an episode begins at step 0
    assert state[:, 2:].eq(0).all()


def test_an_episode_that_is_cut_off_is_followed_by_another_beginning() -> None:
    env = envs.make(Counting, 2, seed=0)
    agent = made(Counting.observation_space, Counting.action_space, num_envs=2)
    played(agent, env, 2)
    assert agent.beginnings.episodes == 2
    agent.cut_off([1])
    env.reset()
    agent.store(env.obs, Acted(torch.tensor([1, 1])), env.step(torch.tensor([1, 1])))
    assert agent.beginnings.episodes == 3


def test_a_dream_needs_an_episode() -> None:
    with pytest.raises(ValueError, match="a dream needs the beginning of at least one real episode"):
        made().dream_start(2, torch.Generator())


# Dreams.


def dreaming(**changes: Any) -> WorldModels:
    """An agent whose untrained model has wide mixtures and ends one dream in ten steps."""
    agent = made(**changes)
    agent.beginnings.parts[0].copy_(
        torch.rand(agent.beginnings.parts[0].shape, generator=torch.Generator().manual_seed(5))
    )
    agent.beginnings.episodes = 100
    with torch.no_grad():
        agent.model.dynamics.outcome[-1].bias[1] = -2.0
    return agent


def policies(agent: WorldModels, count: int = 4) -> Tensor:
    return torch.randn((count, agent.controller.size), generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("action_space", [spaces.Discrete(3), spaces.Box(-1, 2, (2,), np.float32)])
def test_dreams_of_many_policies_at_once_are_those_of_each_by_itself(action_space: Any) -> None:
    agent = dreaming(action_space=action_space, dream_steps=40)
    many = policies(agent)
    whole = agent.dream_returns(many, torch.Generator().manual_seed(7), dreams=5)
    assert whole.shape == (4, 5)
    assert len(whole.unique()) > 10
    for number, policy in enumerate(many):
        alone = agent.dream_returns(policy.unsqueeze(0), torch.Generator().manual_seed(7), dreams=5)
        torch.testing.assert_close(alone[0], whole[number])


def test_latents_stay_where_observations_can_be() -> None:
    """Numbers keep the bounds of their space in its own units, whatever units the latents have."""
    space = spaces.Dict(
        {
            "a": spaces.Box(np.array([-1, -np.inf], np.float32), np.array([3, 2], np.float32)),
            "b": spaces.Discrete(2),
            "c": spaces.Box(0, 255, (1,), np.uint8),
        }
    )
    agent = made(space)
    latents = agent.model.latents
    latents.target.mean.copy_(torch.tensor([1.0, 0.0, 0.5, 0.5, 0.5]))
    latents.target.std.copy_(torch.tensor([2.0, 0.5, 1.0, 1.0, 1.0]))
    far = torch.tensor([[9.0] * 5, [-9.0] * 5, [0.1] * 5])
    expected = [[1.0, 4.0, 0.5, 0.5, 0.5], [-1.0, -9.0, -0.5, -0.5, -0.5], [0.1] * 5]
    torch.testing.assert_close(latents.settle(far), torch.tensor(expected))


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0, 1.5])
def test_returns_in_the_dream_are_those_of_a_plain_loop(temperature: float) -> None:
    agent = dreaming(dream_steps=40)
    many, model = policies(agent), agent.model
    generator = torch.Generator().manual_seed(8)
    first, _ = agent.dream_start(3, torch.Generator().manual_seed(9))
    found = dream.returns(model, agent.controller, many, first, generator, steps=40, temperature=temperature)
    noise_generator = torch.Generator().manual_seed(8)
    noises = [model.dynamics.noise(3, noise_generator) for _ in range(40)]
    for number, policy in enumerate(many):
        for row in range(3):
            total, state = 0.0, first[row : row + 1]
            for noise in noises:
                action = agent.controller.act(policy, model.features(state))
                latent, memory = model.split(state)
                with torch.no_grad():
                    latent, reward, end, memory = model.dynamics.imagine(
                        latent,
                        model.action(action),
                        memory,
                        noise.rows(torch.tensor([row])),
                        temperature=temperature,
                    )
                total += reward.item()
                state = torch.cat([model.latents.settle(latent), memory], 1)
                if end.item():
                    break
            assert found[number, row].item() == pytest.approx(total, rel=1e-4, abs=1e-4)


def test_the_protocols_steps_are_the_dreams() -> None:
    agent = dreaming()
    assert isinstance(agent, WorldModel)
    generator = torch.Generator().manual_seed(3)
    state, _ = agent.dream_start(6, generator)
    action = torch.arange(6) % 3
    imagined = agent.dream_step(state, action, torch.Generator().manual_seed(4), temperature=1.2)
    latent, memory = agent.model.split(state)
    noise = agent.model.dynamics.noise(6, torch.Generator().manual_seed(4))
    with torch.no_grad():
        expected = agent.model.dynamics.imagine(latent, agent.model.action(action), memory, noise, temperature=1.2)
    assert torch.equal(imagined.state, torch.cat([agent.model.latents.settle(expected[0]), expected[3]], 1))
    assert torch.equal(imagined.reward, expected[1])
    assert torch.equal(imagined.terminated, expected[2])
    low = agent.dream_step(state, action, torch.Generator().manual_seed(1), temperature=0.0)
    again = agent.dream_step(state, action, torch.Generator().manual_seed(2), temperature=0.0)
    assert torch.equal(low.state, again.state)
    assert not torch.equal(low.state, imagined.state)


SPACES: list[Any] = [
    IMAGES,
    FLOATS,
    spaces.Box(-3, 3, (2, 2), np.float64),
    spaces.Box(0, 9, (3,), np.int64),
    spaces.MultiBinary(4),
    spaces.Discrete(5, start=2),
    spaces.MultiDiscrete([2, 3]),
    spaces.Dict({"b": spaces.Box(-1, 1, (2,), np.float32), "a": spaces.Discrete(3)}),
    spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 255, (3,), np.uint8))),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_imagined_observations_are_as_the_environments(space: Any) -> None:
    """Of every kind of space: dtype, shape, and within its bounds."""

    class Anything(gym.Env[Any, Any]):
        observation_space, action_space = space, spaces.Discrete(2)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            self.observation_space.seed(seed)
            return self.observation_space.sample(), {}

        def step(self, action: Any) -> Any:
            return self.observation_space.sample(), 1.0, False, False, {}

    env = envs.make(Anything, 2, seed=0, max_episode_steps=5)
    agent = made(space, spaces.Discrete(2), num_envs=2, latent_size=3, decoder_channels=2, vae_batch_size=8)
    played(agent, env, 60, learn=True)
    assert agent.generations > 0
    generator = torch.Generator().manual_seed(0)
    state, obs = agent.dream_start(4, generator)
    imagined = agent.dream_step(state, torch.zeros(4, dtype=torch.int64), generator)
    real = env.step(torch.zeros(2, dtype=torch.int64)).obs

    def check(one: Any, other: Any, part: Any) -> None:
        if isinstance(one, dict):
            assert one.keys() == other.keys()
            for key in one:
                inner = part[int(key)] if isinstance(part, spaces.Tuple) else part[key]
                check(one[key], other[key], inner)
            return
        assert one.dtype == other.dtype
        assert one.shape[1:] == other.shape[1:]
        for value in one.numpy():
            assert part.contains(value.astype(part.dtype) if part.shape else part.dtype.type(value))

    check(obs, real, space)
    check(imagined.obs, real, space)
    assert imagined.state.shape == state.shape


def test_the_state_after_real_steps_is_the_actors(monkeypatch: pytest.MonkeyPatch) -> None:
    """At every step of several episodes: the latent, and the memory of what came before it."""
    env = envs.make(Counting, 2, seed=0)
    agent = made(Counting.observation_space, Counting.action_space, num_envs=2)
    played(agent, env, 60, learn=True)
    actor = agent.actor(2, explore=False, seed=0)
    env.reset()
    obs, actions, starts = [], [torch.ones(2, dtype=torch.int64)], []
    for step in range(20):
        obs.append(env.obs)
        starts.append(env.start)
        memory = actor.memory.masked_fill(env.start.unsqueeze(1), 0.0)
        after = agent.dream_after(torch.stack(obs, 1), torch.stack(actions, 1), torch.stack(starts, 1))
        latent = agent.model.latents.encode(env.obs)
        torch.testing.assert_close(after, torch.cat([latent, memory], 1), msg=str(step))
        actions.append(actor.act(env.obs, env.start).action)
        env.step(actions[-1])


# Acting and learning.


@pytest.mark.parametrize(
    "action_space",
    [
        spaces.Discrete(3, start=1),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(3),
        spaces.Box(-2, 2, (1,), np.float32),
        spaces.Box(-np.inf, np.inf, (2, 2), np.float64),
    ],
    ids=str,
)
def test_every_kind_of_action_is_stored_learned_and_taken(action_space: Any) -> None:
    """Row 8."""

    class Free(Counting):
        observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            return np.zeros(1, np.float32), {}

        def step(self, action: Any) -> Any:
            assert self.action_space.contains(action)
            self.time += 1
            return np.array([np.sum(action)], np.float32), 1.0, self.time == 7, False, {}

    Free.action_space = action_space
    agent = made(Free.observation_space, action_space, num_envs=2, epsilon=0.5)
    played(agent, envs.make(Free, 2, seed=0), 100, learn=True)
    assert agent.generations > 1
    batch = agent.allocate().sample()
    counted = batch.valid > 0
    taken = batch.obs["action"][:, 1:][counted].flatten(1) if batch.obs["action"].dim() > 2 else None
    after = batch.obs["obs"][:, 1:][counted].flatten()
    if taken is not None:
        torch.testing.assert_close(taken.float().sum(1), after, atol=1e-5, rtol=1e-5)
    else:
        assert torch.equal(batch.obs["action"][:, 1:][counted].float(), after)


def test_actions_are_random_until_the_first_generation() -> None:
    agent = made(num_envs=64)
    actor = agent.actor(64, explore=True, seed=0)
    obs, start = torch.zeros(64, 2), torch.zeros(64, dtype=torch.bool)
    assert len(actor.act(obs, start).action.unique()) == 3
    agent.generations = 1
    assert len(actor.act(obs, start).action.unique()) == 1
    assert len(agent.actor(64, explore=False, seed=0).act(obs, start).action.unique()) == 1


def test_epsilon_is_the_share_of_random_actions_in_training_only() -> None:
    agent = made(num_envs=2_000, epsilon=0.3, replay_size=100_000)
    agent.generations = 1
    obs, start = torch.zeros(2_000, 2), torch.zeros(2_000, dtype=torch.bool)
    greedy = agent.actor(2_000, explore=False, seed=0).act(obs, start).action
    actions = agent.actor(2_000, explore=True, seed=0).act(obs, start).action
    assert len(greedy.unique()) == 1
    assert (actions != greedy).float().mean().item() == pytest.approx(0.2, abs=5 * math.sqrt(0.2 * 0.8 / 2_000))


def test_masked_actions_are_not_taken() -> None:
    agent = made(num_envs=200, replay_size=10_000)
    obs, start = torch.randn((200, 2), generator=torch.Generator().manual_seed(0)), torch.ones(200, dtype=torch.bool)
    mask = torch.tensor([False, True, False]).expand(200, 3)
    for generations in (0, 1):
        agent.generations = generations
        agent.policy = policies(agent, 1)[0]
        assert (agent.actor(200, explore=True, seed=0).act(obs, start, mask).action == 1).all()


def test_a_round_has_its_phases_in_order_and_the_next_one_begins() -> None:
    agent = made(IMAGES, spaces.Discrete(2), latent_size=3, decoder_channels=2, vae_batch_size=4)
    rng = np.random.default_rng(0)
    step, before = None, torch.from_numpy(rng.integers(0, 256, (1, 40, 36, 3), np.uint8))
    for number in range(60):
        after = torch.from_numpy(rng.integers(0, 256, (1, 40, 36, 3), np.uint8))
        ended = torch.tensor([number % 9 == 8])
        step = Step(
            obs=after,
            start=ended,
            next_obs=after,
            reward=torch.ones(1),
            terminated=ended,
            truncated=torch.zeros(1, dtype=torch.bool),
            num_active=1,
            num_ended=int(ended),
        )
        agent.store(before, Acted(torch.tensor([number % 2])), step)
        before = after
    changed = []
    for _ in range(16):
        kept = agent.state_dict()
        metrics = agent.learn()
        state = agent.state_dict()
        parts = [(state["model"][name], kept["model"][name]) for name in ("latents", "dynamics")]
        parts.append(({"": state["policy"]}, {"": kept["policy"]}))
        differ = [any(not torch.equal(value, before[key]) for key, value in now.items()) for now, before in parts]
        changed.append("".join(letter for letter, differs in zip("vmc", differ, strict=True) if differs))
    assert [part.replace("vm", "v") for part in changed] == (["v"] * 3 + ["m"] * 3 + ["c"] * 2) * 2
    assert {"vae_loss", "model_loss", "dream_return", "search_sigma"} <= metrics.keys()


@pytest.mark.parametrize("num_envs", [1, 4])
def test_updates_are_counted_by_env_steps(num_envs: int) -> None:
    agent = made(num_envs=num_envs, train_period=4, updates_per_train=2)
    starts = agent.config.learns_from(num_envs)
    assert agent.updates_due(starts - 1) == 0
    assert agent.updates_due(starts + 40) == 20
    agent.updates = 15
    assert agent.updates_due(starts + 40) == 5
    assert [agent.pace.step_of(update) - starts for update in (0, 1, 2, 19)] == [4, 4, 8, 40]


def test_a_state_without_its_replay_acts_dreams_and_learns_on() -> None:
    env = envs.make(Counting, 1, seed=0)
    agent = made(Counting.observation_space, Counting.action_space)
    played(agent, env, 60, learn=True)
    state = {key: value for key, value in agent.state_dict().items() if key != "replay"}
    other = made(Counting.observation_space, Counting.action_space)
    other.load_state_dict(state)
    obs, start = torch.rand(1, 2), torch.ones(1, dtype=torch.bool)
    acted = [one.actor(1, explore=False, seed=0).act(obs, start).action for one in (agent, other)]
    assert torch.equal(*acted)
    dreamt = [one.dream_returns(one.policy.unsqueeze(0), torch.Generator().manual_seed(0)) for one in (agent, other)]
    assert torch.equal(*dreamt)
    assert other.updates_due(other.env_step + 29) == 0
    played(other, env, 130, learn=True)
    assert other.updates > agent.updates


def test_memory_is_bounded() -> None:
    env = envs.make(Counting, 1, seed=0)
    agent = made(Counting.observation_space, Counting.action_space, replay_size=100)
    played(agent, env, 50)
    before = agent.allocate().nbytes
    played(agent, env, 500)
    assert agent.allocate().nbytes == before
    kept = agent.beginnings.parts[0]
    agent.beginnings.keep(torch.arange(600.0).view(300, 2), torch.ones(300, dtype=torch.bool))
    assert agent.beginnings.parts[0] is kept
    assert kept.shape == (256, 2)


class Corridor(gym.Env[np.ndarray, Any]):
    """A place between -1 and 1 that drifts away from 0; an action pushes it. It ends beyond them."""

    observation_space = spaces.Box(-2, 2, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-0.3, 0.3)
        return np.array([self.place], np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.place = 1.1 * self.place + (0.2 if action else -0.2)
        return np.array([self.place], np.float32), 1.0, bool(abs(self.place) > 1), False, {}


@pytest.mark.slow
def test_what_is_learned_in_the_dream_holds_outside() -> None:
    """Random play lasts about ten steps; the best lasts the whole episode of 50, inside and outside."""
    torch.manual_seed(0)
    changes = {"model_updates": 250, "generations": 8, "units": 16, "population_size": 8, "rollouts": 4}
    agent = made(
        Corridor.observation_space,
        Corridor.action_space,
        **{**changes, "learning_starts": 600, "learning_rate": 5e-3, "sequence_length": 16, "dream_steps": 50},
    )
    env = envs.make(Corridor, 1, seed=0, max_episode_steps=50)
    played(agent, env, 600 + 2 * 258 + 10, learn=True)
    inside = agent.dream_returns(agent.policy.unsqueeze(0), torch.Generator().manual_seed(0), dreams=20).mean().item()
    test = envs.make(Corridor, 10, seed=1, max_episode_steps=50)
    actor = agent.actor(10, explore=False, seed=0)
    test.reset()
    lengths: list[int] = []
    while len(lengths) < 10:
        step = test.step(actor.act(test.obs, test.start).action)
        if step.episode_length is not None:
            lengths += step.episode_length[step.ended].tolist()
    outside = float(np.mean(lengths))
    assert outside > 40
    assert abs(inside - outside) < 0.2 * outside


# Bad input.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent": "gan"}, "latent must be one of auto, vae, none, got 'gan'"),
        ({"temperature": -1.0}, "temperature must be >= 0, got -1.0"),
        ({"temperature": math.nan}, "temperature must be >= 0, got nan"),
        ({"sigma": 0.0}, "sigma must be > 0, got 0.0"),
        ({"population_size": 3}, "population_size must be >= 4, got 3"),
        ({"generations": 0}, "generations must be >= 1, got 0"),
        ({"mixtures": 0}, "mixtures must be >= 1, got 0"),
        ({"decoder_sizes": (0,)}, "decoder_sizes must be numbers >= 1"),
        ({"epsilon": 1.5}, "epsilon must be between 0 and 1, got 1.5"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be > 0, got 0.0"),
        ({"learning_starts": -1}, "learning_starts must be >= 0, got -1"),
        ({"init": "best"}, "init must be one of "),
        ({"network_options": {"width": 2}}, "width"),
    ],
)
def test_a_wrong_setting_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WorldModelsConfig(**changes)


@pytest.mark.parametrize(
    ("observation_space", "action_space", "changes", "message"),
    [
        (IMAGES, spaces.Discrete(2), {"latent": "none"}, "latent none would predict every pixel"),
        (FLOATS, spaces.Dict({"a": spaces.Discrete(2)}), {}, "a policy cannot act in a Dict space"),
        (spaces.Text(4), spaces.Discrete(2), {}, "a network cannot read a Text observation"),
    ],
)
def test_spaces_that_do_not_fit_are_refused(
    observation_space: Any, action_space: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        made(observation_space, action_space, **changes)


def test_a_replay_too_small_for_a_sequence_is_refused_before_training() -> None:
    with pytest.raises(
        ValueError, match=r"replay_size must be >= \d+ for sequences of 9 steps in 1 environments, got 9"
    ):
        made(replay_size=9).actor(1, explore=True, seed=0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--env CartPole-v1 --temperature hot", "temperature"),
        ("--env CartPole-v1 --latent gan", "latent"),
        ("--env CartPole-v1 --replay-size 10", "replay_size must be >= "),
        ("--env CartPole-v1 --temperatur 1", "did you mean --temperature"),
    ],
)
def test_the_command_line_says_what_is_wrong_in_one_line(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "world-models", *words.split()]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1
