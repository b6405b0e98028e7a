"""The loop counts transitions, learns when due, and logs true returns and lengths (rows 26, 27)."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete

from gymnast.agents import DQN, DQNConfig
from gymnast.agents.base import Acted
from gymnast.envs import Step, make
from gymnast.loop import Loop
from gymnast.options import TrainOptions
from gymnast.records import read
from gymnast.training import train


class Fives(gym.Env):
    """Five steps of reward 5; the observation counts them."""

    observation_space = Box(0.0, 5.0, (1,), np.float32)
    action_space = Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.count += 1
        return np.full(1, self.count, np.float32), 5.0, self.count == 5, False, {}


class Counting:
    """An agent and actor that notes what the loop does with it."""

    observation_space, action_space = Fives.observation_space, Fives.action_space

    def __init__(self) -> None:
        self.env_step = self.updates = 0
        self.seen: list[tuple[str, int]] = []
        self.transitions: list[tuple[float, float]] = []

    def act(self, obs: Any, start: Any, action_mask: Any = None) -> Acted:
        self.seen.append(("act", self.env_step))
        return Acted(torch.zeros(len(obs), dtype=torch.int64))

    def store(self, obs: Any, acted: Acted, step: Step) -> None:
        self.env_step += step.num_active
        assert isinstance(step.next_obs, torch.Tensor)
        self.transitions += zip(obs.flatten().tolist(), step.next_obs.flatten().tolist(), strict=True)
        self.seen.append(("store", self.env_step))

    def updates_due(self, env_step: int) -> int:
        return env_step // 4 - self.updates

    def learn(self) -> dict[str, torch.Tensor]:
        self.updates += 1
        self.seen.append(("learn", self.env_step))
        return {"loss": torch.tensor(float(self.updates))}


def test_order_counts_and_true_returns() -> None:
    agent = Counting()
    env = make(Fives, 2)
    env.reset()
    loop = Loop(agent, agent, env)
    loop.advance(10, lambda: False)
    assert loop.env_step == agent.env_step == 10
    assert agent.updates == 2
    assert agent.seen[:6] == [("act", 0), ("store", 2), ("act", 2), ("store", 4), ("learn", 4), ("act", 4)]
    assert agent.transitions == [(k, k + 1) for k in range(5) for _ in range(2)]
    assert loop.episodes.count == 2
    assert loop.episodes.means() == {"return_mean": 25.0, "length_mean": 5.0}
    assert loop.state_dict()["metrics"] == {"loss": 2.0}


def test_pulse_stops_between_two_steps() -> None:
    agent = Counting()
    env = make(Fives, 1)
    env.reset()
    loop = Loop(agent, agent, env)
    loop.advance(10**9, lambda: loop.env_step > 100)
    assert 100 < loop.env_step == agent.env_step < 10**9


def test_statistics_survive_a_checkpoint() -> None:
    agent = Counting()
    env = make(Fives, 1)
    env.reset()
    loop, other = Loop(agent, agent, env), Loop(agent, agent, env)
    loop.advance(12, lambda: False)
    other.load_state_dict(loop.state_dict())
    assert (other.env_step, other.episodes, other.metrics) == (12, loop.episodes, {"loss": 3.0})


def test_clipping_is_the_learners_and_the_log_says_25(tmp_path: Path) -> None:
    config = DQNConfig(clip_rewards=True, learning_starts=1, hidden_sizes=(8,), replay_size=50)
    options = TrainOptions(env="Fives", steps=20, out=str(tmp_path), log_every=5, eval_episodes=1, video=False)
    result = train("dqn", options, config, env=Fives)
    records = read(result.path / "metrics.jsonl")
    assert [record["return_mean"] for record in records if record["kind"] == "train"] == [25.0] * 4
    assert result.final is not None
    assert result.final.returns == (25.0,)
    assert result.final.lengths == (5,)


def test_readme_loop_reaches_the_same_replay_ratio() -> None:
    env = make("CartPole-v1", 4, seed=0)
    agent = DQN(
        env.single_observation_space,
        env.single_action_space,
        DQNConfig(learning_starts=40, train_period=4, hidden_sizes=(8,)),
        num_envs=4,
    )
    env.reset()
    Loop(agent, agent.actor(4, explore=True, seed=0), env).advance(200, lambda: False)
    assert agent.updates == (200 - 40) // 4
