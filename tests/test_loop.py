"""The loop counts transitions, learns when due, and logs true returns and lengths (rows 26, 27)."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from gymnast.agents import DQN, DQNConfig
from gymnast.agents.base import Acted
from gymnast.envs import Step, make
from gymnast.errors import UsageError
from gymnast.settings.options import TrainOptions
from gymnast.storage.metrics_log import read
from gymnast.training.loop import Loop
from gymnast.training.parts import Parts
from gymnast.training.train import train
from tests.scripted import Scripted


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


# Overlapping (`--overlap`).


class Sent:
    """Any environment, which notes when a step is under way."""

    overlaps = True

    def __init__(self, env: Any, seen: list[tuple[str, int]], agent: Any) -> None:
        self.env, self.seen, self.agent = env, seen, agent

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def step(self, action: torch.Tensor) -> Step:
        raise AssertionError("the loop waited for the environment")

    def send(self, action: torch.Tensor) -> None:
        self.seen.append(("send", self.agent.env_step))
        self.action = action

    def receive(self) -> Step:
        self.seen.append(("receive", self.agent.env_step))
        return self.env.step(self.action)


def test_updates_that_are_due_are_done_while_the_environment_steps() -> None:
    agent = Counting()
    env = make(Fives, 2)
    env.reset()
    loop = Loop(agent, agent, Sent(env, agent.seen, agent), overlap=True)
    loop.advance(10, lambda: False)
    step = ["act", "send", "receive", "store"]
    assert [name for name, _ in agent.seen] == [
        *step,
        *step,
        *step[:2],
        "learn",
        *step[2:],
        *step,
        *step[:2],
        "learn",
        *step[2:],
    ]
    assert [at for name, at in agent.seen if name == "learn"] == [4, 8]
    assert agent.transitions == [(k, k + 1) for k in range(5) for _ in range(2)]
    assert (loop.env_step, agent.updates, loop.episodes.means()["return_mean"]) == (10, 2, 25.0)
    assert loop.seconds.env > 0
    assert loop.seconds.learn > 0


def test_stopping_and_going_on_changes_no_order() -> None:
    """What is due when `advance` returns is done in the next step, as if it had not returned."""
    orders = []
    for stops in ([40], list(range(1, 41))):
        agent = Counting()
        env = make(Fives, 2)
        env.reset()
        loop = Loop(agent, agent, Sent(env, agent.seen, agent), overlap=True)
        for until in stops:
            loop.advance(until, lambda: False)
        orders.append(agent.seen)
    assert orders[0] == orders[1]
    assert agent.updates == 9  # of 10: those of the last step are done when training goes on


class Recorded(Counting):
    """Random actions; keeps each step as it was stored."""

    def __init__(self, num_actions: int) -> None:
        super().__init__()
        self.num_actions, self.stored = num_actions, []
        self.random = torch.Generator().manual_seed(0)

    def act(self, obs: Any, start: Any, action_mask: Any = None) -> Acted:
        return Acted(torch.randint(self.num_actions, (len(obs),), generator=self.random))

    def store(self, obs: Any, acted: Acted, step: Step) -> None:
        self.env_step += step.num_active
        self.stored.append([obs, acted.action, *(getattr(step, name) for name in FIELDS)])


FIELDS = ("obs", "start", "next_obs", "reward", "terminated", "truncated", "episode_return", "episode_length", "lives")


def overlapping(kind: str) -> Any:
    if kind == "atari":
        return make("ALE/Breakout-v5", 2, seed=3, max_episode_steps=20)
    if kind == "workers":
        return make(Scripted, 2, seed=3, vectorization="async")
    return make(gym.vector.AsyncVectorEnv([Scripted, Scripted]), seed=3)


@pytest.mark.parametrize("kind", ["atari", pytest.param("workers", marks=pytest.mark.slow), "vector"])
def test_the_same_transitions_in_the_same_order(kind: str) -> None:
    stored = []
    for overlap in (False, True):
        env = overlapping(kind)
        env.reset()
        agent = Recorded(int(env.single_action_space.n))
        Loop(agent, agent, env, overlap=overlap).advance(100, lambda: False)
        stored.append(agent.stored)
        env.close()
    assert sum(bool(step[6].any() or step[7].any()) for step in stored[0]) > 1  # episodes ended, and others began
    for left, right in zip(*stored, strict=True):
        for one, other in zip(left, right, strict=True):
            assert one is other is None or torch.equal(one, other)


@pytest.mark.parametrize("kind", ["atari", pytest.param("workers", marks=pytest.mark.slow)])
def test_send_and_receive_take_turns_and_closing_in_between_ends(kind: str) -> None:
    env = overlapping(kind)
    env.reset()
    action = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(RuntimeError, match="receive was called without send"):
        env.receive()
    env.send(action)
    with pytest.raises(RuntimeError, match="send was called twice"):
        env.send(action)
    assert env.receive().num_active == 2
    env.send(action)
    env.close()


def test_an_environment_in_this_process_is_refused_in_one_line(tmp_path: Path) -> None:
    options = TrainOptions(env="CartPole-v1", steps=20, out=str(tmp_path / "runs"), overlap=True)
    with pytest.raises(UsageError, match="overlap: CartPole-v1 steps in this process; use vectorization async"):
        train("dqn", options)
    assert not (tmp_path / "runs").exists()
    env = make("CartPole-v1", 1)
    for call in (lambda: env.send(torch.zeros(1)), env.receive):
        with pytest.raises(NotImplementedError, match="CartPole-v1 steps only synchronously"):
            call()


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


def test_a_tabular_agent_stays_on_the_cpu_where_no_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for agent in ("q-learning", "value-iteration"):
        with ExitStack() as stack:
            parts = Parts.make(agent, TrainOptions(env="Taxi-v4"), None, env=None, stack=stack)
            assert parts.env.device.type == "cpu"
            assert parts.env.id == "Taxi-v4"
