"""Evaluation over N environments is that of one, not biased towards short episodes (row 23), and of true scores."""

import copy
import dataclasses
import hashlib
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.wrappers import TimeLimit

from gymnast.agents import QLearning, QLearningConfig
from gymnast.agents.base import Acted
from gymnast.agents.value.dqn import DQN, DQNConfig
from gymnast.atari.protocols import PROTOCOLS
from gymnast.envs import EnvWarning, make
from gymnast.evaluation import environment
from gymnast.evaluation.environment import STEP_LIMIT, make_env, time_limit
from gymnast.evaluation.play import episode_seeds, evaluate
from gymnast.evaluation.result import Evaluation
from gymnast.training.loop import Loop


class SeededLength(gym.Env):
    """An episode lasts 1 or 50 steps of reward 1, as its seed says: taking what ends first would find only ones."""

    observation_space, action_space = Box(0.0, 1.0, (1,), np.float32), Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.left = 50 if self.np_random.random() < 0.5 else 1
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.left -= 1
        return np.zeros(1, np.float32), 1.0, self.left == 0, False, {}


class Constant:
    """An agent that always takes action 0."""

    env_step = 0

    def actor(self, num_envs: int, *, explore: bool, seed: Any) -> Any:
        assert not explore
        return self

    def act(self, obs: Any, start: torch.Tensor, action_mask: Any = None) -> Acted:
        return Acted(torch.zeros(len(start), dtype=torch.int64))


def test_any_number_of_environments_gives_the_same_episodes() -> None:
    env = make("FrozenLake-v1", seed=0)
    agent = QLearning(env.single_observation_space, env.single_action_space, QLearningConfig())
    agent.q[0] = np.random.default_rng(0).random(agent.q[0].shape)
    one, three, eight = (evaluate(agent, "FrozenLake-v1", episodes=20, num_envs=n, seed=5) for n in (1, 3, 8))
    assert one == three == eight
    assert one.mean_return == eight.mean_return
    assert len(set(one.lengths)) > 3
    assert evaluate(agent, "FrozenLake-v1", episodes=20, num_envs=8, seed=6).lengths != one.lengths


def test_long_episodes_count_as_much_as_short_ones() -> None:
    results = [evaluate(Constant(), SeededLength, episodes=30, num_envs=n, seed=1) for n in (1, 8)]
    assert results[0].returns == results[1].returns
    truth = [50.0 if np.random.default_rng(seed).random() < 0.5 else 1.0 for seed in episode_seeds(1, 30)]
    assert list(results[0].returns) == truth
    assert results[0].lengths == tuple(int(value) for value in truth)


def test_without_seeded_episodes_each_row_plays_its_share() -> None:
    env = make(gym.vector.SyncVectorEnv([SeededLength] * 4), seed=3)
    assert not env.seeds_episodes
    results = evaluate(Constant(), env, episodes=400, seed=0)
    # By chance half of them are long: taking the first 400 that end would find some 4 % of long ones.
    assert 0.4 < np.mean(np.array(results.lengths) == 50) < 0.6
    env.close()


def test_short_evaluations_are_the_beginning_of_longer_ones() -> None:
    assert episode_seeds(7, 3) == episode_seeds(7, 10)[:3]
    assert len(set(episode_seeds(7, 100))) == 100


def test_an_endless_episode_is_cut() -> None:
    assert (time_limit("CartPole-v1"), time_limit("CliffWalking-v1")) == (500, STEP_LIMIT)
    env = make_env("CliffWalking-v1", 1, max_episode_steps=30)
    result = evaluate(Constant(), env, episodes=1)  # action 0 goes up, into the wall, for ever
    assert (result.returns, result.lengths) == ((-30.0,), (30,))
    env.close()


def test_statistics_by_hand() -> None:
    found = evaluate(Constant(), SeededLength, episodes=4, seed=1).as_json()
    returns = np.array([50.0 if np.random.default_rng(seed).random() < 0.5 else 1.0 for seed in episode_seeds(1, 4)])
    assert found["mean_return"] == returns.mean()
    assert found["std_return"] == pytest.approx(returns.std())
    assert (found["min_return"], found["max_return"]) == (returns.min(), returns.max())
    assert (found["episodes"], found["env_steps"], found["seed"]) == (4, int(returns.sum()), 1)
    assert found["median_return"] == np.median(returns)


def test_no_episodes_are_refused() -> None:
    with pytest.raises(ValueError, match="episodes must be >= 1, got 0"):
        evaluate(Constant(), SeededLength, episodes=0)


# What the learner sees and what the logs say.


class FiveLives(gym.Env):
    """Five steps of reward 5; the lives fall as 3, 3, 2, 2, 1 and the last step ends the game."""

    observation_space, action_space = Box(0.0, 1.0, (1,), np.float32), Discrete(2)
    LIVES = (3, 3, 2, 2, 1, 0)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(1, np.float32), {"lives": self.LIVES[0]}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.time += 1
        obs = np.full(1, self.time / 5, np.float32)
        return obs, 5.0, self.time == 5, False, {"lives": self.LIVES[self.time]}


MODES = {
    "serial": lambda: make(FiveLives, 2, vectorization="serial"),
    **{
        mode.name: lambda mode=mode: make(gym.vector.SyncVectorEnv([FiveLives] * 2, autoreset_mode=mode))
        for mode in gym.vector.AutoresetMode
    },
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("life_loss", [False, True])
def test_the_learner_sees_clipped_rewards_and_lost_lives_and_the_log_the_true_score(mode: str, life_loss: bool) -> None:
    """Rows 18 and 26: five +5 are five +1 to the learner, the log says 25; a lost life cuts targets, not episodes."""
    env = MODES[mode]()
    env.reset()
    config = DQNConfig(clip_rewards=True, life_loss=life_loss, replay_size=100, learning_starts=1_000, gamma=0.9)
    agent = DQN(env.single_observation_space, env.single_action_space, config, num_envs=2)
    loop = Loop(agent, agent.actor(2, explore=True, seed=0), env)
    loop.advance(40, lambda: False)  # four games in each of two rows
    assert list(loop.episodes.returns) == [25.0] * 8
    assert list(loop.episodes.lengths) == [5] * 8
    seen = []
    for _ in range(20):
        batch = agent.replay.sample()  # its memory is used again for the next one
        seen.append(torch.stack([batch.obs[:, 0] * 5, batch.reward, batch.discount]))
    time, reward, discount = torch.cat(seen, 1)  # `time` is that of the transition's first observation
    assert torch.equal(reward, torch.ones_like(reward))
    cut = (1, 3, 4) if life_loss else (4,)  # transitions after which a life, or the game, is over
    expected = torch.tensor([0.0 if round(float(step)) in cut else 0.9 for step in time])
    assert torch.allclose(discount, expected)
    assert set(time.round().int().tolist()) == {0, 1, 2, 3, 4}
    result = evaluate(agent, FiveLives, episodes=3, num_envs=2)
    assert (result.returns, result.lengths) == ((25.0,) * 3, (5,) * 3)
    env.close()


def test_an_evaluation_changes_neither_the_agent_nor_its_stream() -> None:
    """Row 24: everything that learning goes on from, memory and generators included, is the same before and after."""
    env = make(FiveLives, 2, vectorization="serial")
    env.reset()
    config = DQNConfig(replay_size=100, learning_starts=10, eval_epsilon=0.5)
    agent = DQN(env.single_observation_space, env.single_action_space, config, num_envs=2)
    loop = Loop(agent, agent.actor(2, explore=True, seed=0), env)
    loop.advance(40, lambda: False)
    agent.learn()

    def state() -> str:
        everything = [copy.deepcopy(agent.state_dict()), loop.actor.state_dict(), torch.get_rng_state()]
        return hashlib.sha256(repr(plain(everything)).encode()).hexdigest()

    before = state()
    first = evaluate(agent, FiveLives, episodes=5, num_envs=3, seed=3)
    assert state() == before
    assert evaluate(agent, FiveLives, episodes=5, num_envs=3, seed=3) == first
    agent.learn()
    assert state() != before


def plain(value: Any) -> Any:
    """Tensors as lists, so that every number counts."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


# Atari's results.


def atari(**changes: Any) -> Evaluation:
    played = dataclasses.replace(PROTOCOLS["machado"], eval_epsilon=0.01)
    values = {"env": "ALE/Breakout-v5", "agent": "dqn", "seed": 0, "trained_env_steps": 1_000}
    values |= {"returns": (10.0, 21.2), "lengths": (100, 150), "protocol": played, "trained_frame_skip": 4}
    return Evaluation(**values | changes)


def test_scores_between_chance_and_human_by_hand() -> None:
    """Breakout: chance 1.7, human 30.5; frames are counted with the skip of each."""
    found = atari().as_json()
    assert found["human_normalized"] == pytest.approx((15.6 - 1.7) / 28.8)
    assert found["human_gap"] == pytest.approx(1 - (15.6 - 1.7) / 28.8)
    assert (found["reference"]["random"], found["reference"]["human"]) == (1.7, 30.5)
    assert (found["frames"], found["trained_frames"]) == (250 * 5, 1_000 * 4)
    assert (found["protocol"], found["protocol_settings"]["frame_skip"]) == ("machado", 5)
    assert atari(returns=(100.0, 100.0)).as_json()["human_gap"] == 0.0
    text = atari().as_text()
    assert "protocol machado: skip 5, sticky 0.25" in text
    assert "human-normalized score 0.483, human gap 0.517 (random 1.7, human 30.5" in text


def test_a_game_without_references_has_a_protocol_alone() -> None:
    found = atari(env="ALE/Pacman-v5").as_json()
    assert found["protocol"] == "machado"
    assert not {"human_normalized", "human_gap", "reference"} & found.keys()
    assert "human" not in atari(env="ALE/Pacman-v5").as_text()


def test_other_environments_have_neither() -> None:
    plain_result = atari(env="CartPole-v1", protocol=None)
    assert not {"protocol", "frames", "trained_frames", "human_normalized"} & plain_result.as_json().keys()
    assert "\n" not in plain_result.as_text()


class Endless(SeededLength):
    """Never ends."""

    def step(self, action: Any) -> Any:
        observation, reward, _, _, info = super().step(action)
        return observation, reward, False, False, info


def test_an_endless_environment_is_cut_off_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "STEP_LIMIT", 40)
    with pytest.warns(EnvWarning) as said:
        found = evaluate(Constant(), Endless, episodes=3)
    assert found.lengths == (40, 40, 40)
    assert str(said[0].message) == (
        "Endless has no time limit: 3 of 3 evaluation episodes were cut off after 40 steps "
        "(--max-episode-steps sets another limit)"
    )


@pytest.mark.parametrize("vectorization", ["serial", "async"])
def test_a_given_environment_without_a_limit_has_one_during_an_evaluation(
    vectorization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "STEP_LIMIT", 40)
    env = make(Endless, 2, vectorization=vectorization)
    with pytest.warns(EnvWarning, match="Endless has no time limit: 3 of 3 evaluation episodes were cut off after 40"):
        found = evaluate(Constant(), env, episodes=3)
    assert found.lengths == (40, 40, 40)
    assert env.step_limit is None
    env.reset()  # what is done with it afterwards is endless again
    assert not any(env.step(torch.zeros(2, dtype=torch.int64)).num_ended for _ in range(50))
    env.close()


def test_a_time_limit_of_the_environments_own_is_kept_and_not_spoken_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "STEP_LIMIT", 40)
    for limit in (30, 60):
        found = evaluate(Constant(), lambda limit=limit: TimeLimit(Endless(), limit), episodes=2)
        assert found.lengths == (limit, limit)


class Walkers(gym.vector.VectorEnv):
    """Two rows with a reward of 1 in each step: the first ends after three steps, the second never does."""

    metadata: ClassVar[dict[str, Any]] = {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP}

    def __init__(self) -> None:
        self.num_envs = 2
        self.single_observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
        self.single_action_space = gym.spaces.Discrete(2)
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, 2)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, 2)
        self.steps = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.steps, self.ended = 0, False
        return np.zeros((2, 1), np.float32), {}

    def step(self, actions: Any) -> tuple[Any, ...]:
        self.steps = 0 if self.ended else self.steps + 1
        self.ended = self.steps == 3
        rewards = np.array([float(self.steps > 0), 1.0])
        return np.zeros((2, 1), np.float32), rewards, np.array([self.ended, False]), np.zeros(2, bool), {}


def test_a_vector_environment_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gymnast.evaluation.environment.STEP_LIMIT", 50)
    env = make(Walkers(), 2)
    agent = DQN(env.single_observation_space, env.single_action_space, DQNConfig(hidden_sizes=(4,)), num_envs=2)
    with pytest.warns(EnvWarning, match="2 of 4 evaluation episodes were cut off after 50 steps"):
        found = evaluate(agent, env, episodes=4)
    assert found.lengths == (3, 50, 3, 50)
    assert found.returns == (3.0, 50.0, 3.0, 50.0)
    assert env.step_limit is None
