"""Action masks: no action that is not allowed is ever taken, nor bootstrapped from."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents import DQN, DQNConfig
from gymnast.envs import EnvError, make
from gymnast.evaluation.play import evaluate
from tests.scripted import Scripted

SMALL = DQNConfig(
    hidden_sizes=(8,),
    batch_size=16,
    replay_size=500,
    learning_starts=20,
    train_period=2,
    target_period=10,
    epsilon=0.5,
    quantiles=5,
    atoms=5,
)
RAINBOW = {"double": True, "dueling": True, "prioritized": True, "noisy": True, "n_step": 3, "values": "categorical"}


class Strict(Scripted):
    """Refuses the action that is not allowed: action t mod 3 in the t-th step of an episode."""

    def __init__(self) -> None:
        super().__init__(lives=True)

    def step(self, action: int) -> Any:
        assert action != self.time % 3, "an action that is not allowed"
        return super().step(action)


def interact(learner: DQN, env: Any, steps: int, *, explore: bool = True) -> list[int]:
    """The loop; the actions taken."""
    actor, actions = learner.actor(env.num_envs, explore=explore, seed=2), []
    obs, start, mask = env.reset(), env.start, env.action_mask
    for _ in range(steps):
        acted = actor.act(obs, start, mask)
        actions += acted.action.tolist()
        step = env.step(acted.action)
        learner.store(obs, acted, step)
        for _ in range(learner.updates_due(learner.env_step)):
            learner.learn()
        obs, start, mask = step.obs, step.start, step.action_mask
    return actions


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("explore", [True, False])
@pytest.mark.parametrize(
    "changes",
    [{}, {"activation": "tanh"}, {"epsilon": 1.0, "eval_epsilon": 1.0}, {"values": "implicit"}, RAINBOW],
)
def test_only_allowed_actions_are_taken(num_envs: int, explore: bool, changes: dict[str, Any]) -> None:
    """The environment fails at another one, in exploration (greedy or random) and in evaluation."""
    env = make(Strict, num_envs, seed=0)
    config = dataclasses.replace(SMALL, **changes)
    learner = DQN(env.single_observation_space, env.single_action_space, config, num_envs=num_envs, seed=0)
    taken = interact(learner, env, 150, explore=explore)
    env.close()
    assert learner.updates > 50
    assert len(set(taken)) > 1


@pytest.mark.parametrize("changes", [{}, RAINBOW])
def test_without_masks_any_action_is_taken(changes: dict[str, Any]) -> None:
    env = make(Strict, 1, seed=0)
    config = dataclasses.replace(SMALL, action_masks=False, epsilon=1.0, noisy_epsilon=1.0, **changes)
    learner = DQN(env.single_observation_space, env.single_action_space, config, seed=0)
    with pytest.raises(EnvError, match=r"step raised AssertionError: .*not allowed"):
        interact(learner, env, 150)
    env.close()
    assert learner.replay.mask is None


def test_random_actions_are_uniform_among_the_allowed_ones() -> None:
    learner = DQN(spaces.Box(-1, 1, (2,)), spaces.Discrete(5, start=3), dataclasses.replace(SMALL, epsilon=1.0), seed=0)
    for num_envs in (1, 2):
        actor = learner.actor(num_envs, explore=True, seed=0)
        mask = torch.tensor([[True, False, True, True, False], [False, False, False, True, False]])[:num_envs]
        obs, start = torch.zeros(num_envs, 2), torch.zeros(num_envs, dtype=torch.bool)
        actions = torch.stack([actor.act(obs, start, mask).action for _ in range(3000)])
        shares = torch.bincount(actions[:, 0] - 3, minlength=5) / 3000
        assert shares.tolist() == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3, 0], abs=0.03)
        assert (actions[:, 1:] == 6).all()


@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("num_envs", [1, 3])
def test_sampled_masks_are_of_the_observation_that_is_bootstrapped_from(n_step: int, num_envs: int) -> None:
    """Observations hold their time, which says what is allowed: n steps later, or at a truncation before that."""
    env = make(Strict, num_envs, seed=0)
    config = dataclasses.replace(SMALL, n_step=n_step, replay_size=300, learning_starts=10_000)
    learner = DQN(env.single_observation_space, env.single_action_space, config, num_envs=num_envs, seed=0)
    interact(learner, env, 400 // num_envs)  # the ring has been overwritten more than once
    env.close()
    times: set[int] = set()
    for _ in range(20):
        batch = learner.replay.sample()
        time = batch.next_obs[:, 2].long()
        assert batch.next_mask is not None
        assert torch.equal(batch.next_mask, torch.arange(3) != (time % 3).unsqueeze(1))
        times |= set(time.tolist())
    assert times == {1, 2, 3, 4, 5}


class Forbidden(gym.Env[Any, Any]):
    """One state; action 1 gives 1, action 0 is never allowed. Cut off every second step, or never ended."""

    observation_space, action_space = spaces.Box(0, 1, (1,)), spaces.Discrete(2)

    def __init__(self, *, cut: bool) -> None:
        self.cut, self.time = cut, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        return np.ones(1, np.float32), {"action_mask": np.array([False, True])}

    def step(self, action: int) -> Any:
        assert action == 1
        self.time += 1
        mask = {"action_mask": np.array([False, True])}
        return np.ones(1, np.float32), 1.0, False, self.cut and self.time == 2, mask


class Constant(nn.Module):
    """Features that are the observation, so that the head's weights are the outputs."""

    out_features = 1

    def forward(self, obs: Tensor) -> Tensor:
        return obs


@pytest.mark.parametrize(("cut", "double", "n_step"), [(False, False, 1), (True, True, 1), (True, False, 3)])
@pytest.mark.parametrize("values", ["scalar", "rescaled", "categorical", "quantile"])
def test_what_is_not_allowed_is_worth_nothing(cut: bool, double: bool, n_step: int, values: Any) -> None:
    """Action 1 is worth 1 + 1/2 + 1/4 + … = 2, truncated or not, however much action 0 seems to be worth."""
    env = make(lambda: Forbidden(cut=cut), 1, seed=0)
    config = DQNConfig(
        double=double,
        n_step=n_step,
        values=values,
        gamma=0.5,
        atoms=9,
        v_min=0.0,
        v_max=4.0,
        quantiles=3,
        loss="mse",
        learning_rate=0.05,
        batch_size=16,
        replay_size=100,
        learning_starts=10,
        train_period=1,
        target_period=10,
    )
    learner = DQN(env.single_observation_space, env.single_action_space, config, seed=0, network=Constant())
    outputs = learner.values.outputs
    with torch.no_grad():
        for network in (learner.online, learner.target):
            layer = network.head.stream.output
            layer.weight.zero_()
            layer.bias.zero_()
            layer.bias[outputs - 1] = 40.0  # the last output of action 0: 40, a quantile of 40, or mass at 4
    interact(learner, env, 300)
    env.close()
    q = learner.values.q(learner.online(torch.ones(1, 1)))[0]
    assert q[0] > 3.5
    assert q[1].item() == pytest.approx(2.0, abs=0.1)


class Checked(gym.Wrapper[Any, Any, Any, Any]):
    """Fails at an action that the last mask did not allow."""

    def reset(self, **options: Any) -> Any:
        obs, info = self.env.reset(**options)
        self.mask = info["action_mask"]
        return obs, info

    def step(self, action: Any) -> Any:
        assert self.mask[action], "an action that is not allowed"
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.mask = info["action_mask"]
        return obs, reward, terminated, truncated, info


@pytest.mark.parametrize("changes", [{}, RAINBOW])
def test_taxi(changes: dict[str, Any]) -> None:
    """Taxi says which actions have an effect: no other is taken in training and evaluation, time limits included."""

    def taxi() -> gym.Env[Any, Any]:
        return Checked(gym.make("Taxi-v4", max_episode_steps=50))

    env = make(taxi, 2, seed=0)
    config = dataclasses.replace(SMALL, **changes)
    learner = DQN(env.single_observation_space, env.single_action_space, config, num_envs=2, seed=0)
    interact(learner, env, 200)
    env.close()
    assert learner.updates > 150
    assert learner.replay.mask is not None
    assert not learner.replay.mask.all()
    evaluation = evaluate(learner, taxi, episodes=4, num_envs=2)
    assert len(evaluation.returns) == 4
