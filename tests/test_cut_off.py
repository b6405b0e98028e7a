"""Where a resumed run begins new episodes, nothing that an agent learns runs from a lost episode into one of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast import TrainOptions, resume, train
from gymnast.agents import (
    DQN,
    PQN,
    ActorCritic,
    ActorCriticConfig,
    DQNConfig,
    NStepSarsa,
    NStepSarsaConfig,
    PQNConfig,
    QLearning,
    QLearningConfig,
    Reinforce,
    ReinforceConfig,
)
from gymnast.envs import make
from gymnast.replay.ring import Ring
from gymnast.replay.ring_arrays import windows_into
from gymnast.training.loop import Loop

EPISODES = itertools.count()
GAMMA = 0.5


class Numbered(gym.Env[Any, Any]):
    """Observations [episode, time], rewards 1, 2, ...; no seed brings an episode's number back, as none repeats."""

    observation_space = spaces.Box(-1e6, 1e6, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.number, self.time = next(EPISODES), 0
        return np.array([self.number, 0], np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return np.array([self.number, self.time], np.float32), float(self.time), self.time == 50, False, {}


def options(path: Path, **changes: Any) -> TrainOptions:
    shared: dict[str, Any] = {"eval_every": 0, "eval_episodes": 1, "video": False, "threads": 1, "num_envs": 2}
    return TrainOptions(env="CartPole-v1", out=str(path), name="run", **{**shared, **changes})


def loop_of(kind: Any, config: Any, *, rows: int = 1) -> Loop:
    env = make(Numbered, rows)
    agent = kind(env.single_observation_space, env.single_action_space, config, num_envs=rows)
    env.reset()
    return Loop(agent, agent.actor(rows, explore=True, seed=0), env)


def test_n_step_returns_of_a_resumed_dqn_stay_within_their_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DQNConfig(n_step=5, replay_size=400, learning_starts=300, hidden_sizes=(4,), batch_size=4)
    half = train("dqn", options(tmp_path, steps=60), config, env=Numbered)
    replays: list[Any] = []
    store = DQN.store
    monkeypatch.setattr(DQN, "store", lambda self, *step: (replays.append(self.replay), store(self, *step))[1])
    assert resume(half.path, steps=120, env=Numbered).env_step == 120
    ring = replays[-1]
    assert isinstance(ring, Ring)
    index = np.flatnonzero(ring.ready[: ring.used])
    out = windows_into(torch.zeros(len(index), dtype=torch.int64), *torch.zeros(2, len(index)))
    ring.windows(index, out)
    frames = ring.frames[0].reshape(ring.slots, 2)
    before, after = frames[index], frames[out.successor]
    assert len(np.unique(before[:, 0])) >= 4  # two lost and two new ones
    np.testing.assert_array_equal(before[:, 0], after[:, 0])
    steps = (after - before)[:, 1].astype(int)
    assert set(steps.tolist()) == {1, 2, 3, 4, 5}  # shorter ones at the cut
    np.testing.assert_allclose(out.discount, 0.99**steps, rtol=1e-6)  # which keep their bootstrap


def test_the_advantages_of_a_half_rollout_do_not_cross_the_cut() -> None:
    """Three steps of a lost episode, of which the last bootstraps the second, then three of a new one; by hand."""
    config = ActorCriticConfig(
        rollout_steps=6, minibatches=1, gamma=GAMMA, gae_lambda=0.8, hidden_sizes=(4,), normalise_rewards=False
    )
    loop = loop_of(ActorCritic, config)
    agent: Any = loop.agent
    loop.advance(3, lambda: False)
    agent.cut_off([0])
    agent.cut_off([0])  # a second time changes nothing
    loop.env.reset()
    agent.updates_due = lambda env_step: 0
    loop.advance(6, lambda: False)
    agent.estimates.see()
    value = agent.rollout.fields["value"].flatten().tolist()
    samples = agent.estimates.samples(agent.rollout.fields["value"])
    assert samples.weight.flatten().tolist() == [1, 1, 0, 1, 1, 1]
    after = [value[1], value[2], None, value[4], value[5], agent.estimates.last_value.item()]
    reward, expected, following = [1.0, 2.0, 3.0, 1.0, 2.0, 3.0], [0.0] * 6, 0.0
    for step in (5, 4, 3, 1, 0):
        carried = 0.0 if step in (5, 1) else following
        following = reward[step] + GAMMA * after[step] - value[step] + GAMMA * 0.8 * carried  # type: ignore[operator]
        expected[step] = following
    found = samples.old.advantage.flatten()
    kept = [0, 1, 3, 4, 5]
    torch.testing.assert_close(found[kept], torch.tensor(expected)[kept])


def test_nothing_is_cut_where_an_episode_had_ended() -> None:
    config = ActorCriticConfig(rollout_steps=64, hidden_sizes=(4,))
    loop = loop_of(ActorCritic, config)
    loop.advance(50, lambda: False)
    agent: Any = loop.agent
    agent.cut_off([0])
    assert agent.rollout.weight.min() == 1.0


def test_the_targets_of_pqn_do_not_cross_the_cut() -> None:
    config = PQNConfig(rollout_steps=6, minibatches=1, gamma=GAMMA, td_lambda=0.8, hidden_sizes=(4,))
    loop = loop_of(PQN, config)
    agent: Any = loop.agent
    loop.advance(3, lambda: False)
    agent.cut_off([0])
    loop.env.reset()
    agent.updates_due = lambda env_step: 0
    loop.advance(6, lambda: False)
    assert agent.rollout.fields["ended"].flatten().tolist() == [False, False, True, False, False, False]
    with torch.no_grad():
        successor = agent.network(torch.tensor([[float(loop.env.obs[0, 0]) - 1, 3.0]])).max().item()  # type: ignore[index]
    assert agent.targets()[2].item() == pytest.approx(config.reward_scale * 3.0 + GAMMA * successor, rel=1e-5)


def test_reinforce_drops_an_episode_that_was_cut_off() -> None:
    loop = loop_of(Reinforce, ReinforceConfig(episodes=100, hidden_sizes=(4,)), rows=2)
    agent: Any = loop.agent
    loop.advance(20, lambda: False)
    agent.cut_off([1])
    loop.env.reset()
    loop.advance(20 + 2 * 50, lambda: False)
    assert agent.buffer.lengths == [60, 50]  # the first row was not cut off here, and the second played 10 steps before


def test_traces_do_not_reach_over_the_cut() -> None:
    config = QLearningConfig(trace_decay=1.0, gamma=1.0, alpha="0.5", initial_q=0.0, trace="accumulating")
    agent: Any = QLearning(spaces.Discrete(4), spaces.Discrete(1), config, num_envs=2)
    for row in range(2):
        agent.traces.eligibility[row, 0], agent.traces.visited[row, 0], agent.traces.length[row] = 1.0, 0, 1
    agent.cut_off([0])
    assert agent.traces.length.tolist() == [0, 1]
    assert agent.traces.eligibility[:, 0].tolist() == [0.0, 1.0]


def test_a_window_of_n_step_sarsa_is_closed_by_its_last_pair() -> None:
    """Pairs 0, 1, 2 with rewards 1, 2, 4 of a lost episode: the third bootstraps the others, and its own is dropped."""
    config = NStepSarsaConfig(n_step=5, gamma=GAMMA, alpha="0.5")
    agent: Any = NStepSarsa(spaces.Discrete(4), spaces.Discrete(1), config)
    agent.q[0, 2, 0] = 8.0
    window = agent.window
    window.pair[0, :3], window.reward[0, :3], window.discount[0, :3] = [0, 1, 2], [1.0, 2.0, 4.0], GAMMA
    window.length[0] = 3
    agent.cut_off([0])
    second = 2.0 + GAMMA * 8.0  # 6
    first = 1.0 + GAMMA * second  # 4
    assert agent.q[0, :, 0].tolist() == [0.5 * first, 0.5 * second, 8.0, 0.0]
    assert window.length[0] == 0


def test_a_resumed_run_cuts_the_episodes_of_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ActorCriticConfig(rollout_steps=16, minibatches=2, hidden_sizes=(4,))
    half = train("ppo", options(tmp_path, steps=20), config, env=Numbered)
    cut: list[list[int]] = []
    method = ActorCritic.cut_off

    def watched(self: ActorCritic, rows: Sequence[int]) -> None:
        cut.append(list(rows))
        method(self, rows)
        assert self.rollout.weight[self.rollout.length - 1].tolist() == [0.0, 0.0]

    monkeypatch.setattr(ActorCritic, "cut_off", watched)
    assert resume(half.path, steps=64, env=Numbered).exit_code == 0
    assert cut == [[0, 1]]
