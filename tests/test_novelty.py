"""Curiosity and episodic novelty by hand, and novelty in the rewards of agents with action values."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents import DQN, PQN, DQNConfig, PQNConfig
from gymnast.agents.base import Acted
from gymnast.agents.policy import episodic, inverse_features
from gymnast.agents.policy.curiosity import Curiosity
from gymnast.agents.policy.episodic import EpisodicNovelty
from gymnast.agents.policy.novelty import Counts, Experience
from gymnast.agents.value.intrinsic import IntrinsicReward, build_intrinsic_reward
from gymnast.cli.main import main
from gymnast.envs.step import Step

CPU = torch.device("cpu")
BOX, TWO = spaces.Box(-1, 1, (3,)), spaces.Discrete(2)


def step_of(next_obs: Tensor, *, ends: list[bool] | None = None, reward: float = 0.0, **changes: Any) -> Step:
    rows = len(next_obs)
    ended = torch.tensor(ends or [False] * rows)
    made = Step(
        obs=next_obs,
        start=ended,
        next_obs=next_obs,
        reward=torch.full((rows,), reward),
        terminated=ended,
        truncated=torch.zeros_like(ended),
        num_active=rows,
        num_ended=int(ended.sum()),
    )
    return dataclasses.replace(made, **changes)


def episodic_of(rows: int, monkeypatch: pytest.MonkeyPatch) -> EpisodicNovelty:
    """With observations as their own embeddings."""
    made = EpisodicNovelty(BOX, TWO, rows, CPU, np.random.SeedSequence(0))
    monkeypatch.setattr(made, "features", lambda obs: obs)
    return made


def test_episodic_novelty_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """First an observation at squared distance 0.32 from the only one, then the same again, then a new episode."""
    made, zero, action = episodic_of(1, monkeypatch), torch.zeros(1, 32), torch.zeros(1, dtype=torch.int64)
    other = torch.full((1, 32), 0.1)
    kernel = 1e-4 / (1.0 - 0.008 + 1e-4)
    assert made.reward(zero, action, step_of(other)).item() == pytest.approx(1 / (kernel**0.5 + 1e-3), rel=1e-4)
    mean = (0.32 + 0.32 + 0.0) / 3
    kernels = 1.0 + 1e-4 / (0.32 / mean - 0.008 + 1e-4)
    found = made.reward(other, action, step_of(other, ends=[True]))
    assert found.item() == pytest.approx(1 / (kernels**0.5 + 1e-3), rel=1e-4)
    assert made.counts.tolist() == [3]
    made.reward(zero, action, step_of(other))
    assert made.counts.tolist() == [2]  # what the last episode held is forgotten


def test_what_is_everywhere_in_an_episode_is_worth_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made, action = episodic_of(2, monkeypatch), torch.zeros(2, dtype=torch.int64)
    monkeypatch.setattr(episodic, "LARGEST", 3.0)
    rng = torch.Generator().manual_seed(0)
    seen = torch.zeros(2, 32)
    for number in range(70):  # more than there is room for at first
        following = torch.stack([torch.zeros(32), torch.randn(32, generator=rng)])
        found = made.reward(seen, action, step_of(following))
        seen = following
        if number > 12:
            assert found[0] == 0.0  # ten neighbours of similarity 1: sqrt(10) > 3
            assert found[1] > 1.0
    assert made.counts.tolist() == [71, 71]
    assert made.memory.shape[1] == 128


def test_rows_that_do_not_count_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    made, zero = episodic_of(2, monkeypatch), torch.zeros(2, 32)
    active = torch.tensor([True, False])
    made.reward(zero, torch.zeros(2, dtype=torch.int64), step_of(zero + 1, active=active))
    assert made.counts.tolist() == [2, 0]
    assert made.start.tolist() == [False, True]


def curiosity() -> Curiosity:
    return Curiosity(BOX, spaces.Discrete(2, start=1), CPU, np.random.SeedSequence(0))


def experience(rows: int = 64) -> Experience:
    rng = torch.Generator().manual_seed(1)
    obs = torch.randn(rows, 2, 3, generator=rng)
    action = torch.randint(1, 3, (rows, 2), generator=rng)
    moved = obs + (action.float() * 2 - 3).unsqueeze(2) * torch.tensor([1.0, 0.0, 0.0])
    return Experience(obs, torch.ones(rows, 2), action, moved)


def test_curiosity_is_half_the_squared_error_of_predicted_features() -> None:
    made, drawn = curiosity(), experience()
    obs, action, next_obs = drawn.obs[0], drawn.action[0], drawn.next_obs[0]  # type: ignore[index]
    with torch.no_grad():
        for layer in (made.dynamics[0], made.dynamics[2]):
            layer.weight.zero_()
            layer.bias.fill_(0.25)
    difference = 0.25 - made.features(next_obs)
    found = made.reward(obs, action, step_of(next_obs))
    torch.testing.assert_close(found, (0.5 * difference.square().sum(1)).detach())


def test_curiosity_ends_where_actions_are_understood() -> None:
    made, drawn = curiosity(), experience()
    before = made.reward(drawn.obs[0], drawn.action[0], step_of(drawn.next_obs[0]))  # type: ignore[index, arg-type]
    losses = [made.learn(drawn)["intrinsic_loss"].item() for _ in range(60)]
    after = made.reward(drawn.obs[0], drawn.action[0], step_of(drawn.next_obs[0]))  # type: ignore[index, arg-type]
    assert losses[-1] < 0.5 * losses[0]
    assert after.mean() < before.mean()


def test_features_learn_from_the_inverse_model_only(monkeypatch: pytest.MonkeyPatch) -> None:
    made, drawn = curiosity(), experience()
    nothing = lambda self, features, following, action, share: 0.0 * features.sum()  # noqa: E731
    monkeypatch.setattr(inverse_features.InverseFeatures, "loss", nothing)
    before = {name: part.clone() for name, part in made.features.embedding.state_dict().items()}
    dynamics = made.dynamics[0].weight.clone()  # type: ignore[operator]
    made.learn(drawn)
    assert all(torch.equal(part, before[name]) for name, part in made.features.embedding.state_dict().items())
    assert not torch.equal(made.dynamics[0].weight, dynamics)


SMALL = DQNConfig(hidden_sizes=(8,), batch_size=4, replay_size=64, learning_starts=8, clip_rewards=True)


def test_dqn_learns_from_the_clipped_reward_and_the_bonus() -> None:
    config = dataclasses.replace(SMALL, intrinsic="counts", intrinsic_coef=0.5)
    made = DQN(BOX, TWO, config, num_envs=2, seed=3)
    other = IntrinsicReward(Counts(BOX, CPU, np.random.SeedSequence(1)), 0.5, 0.99, 2, device=CPU)
    assert isinstance(made.extras.intrinsic, IntrinsicReward)
    other.novelty.load_state_dict(made.extras.intrinsic.novelty.state_dict())
    obs, rng, stored = torch.zeros(2, 3), torch.Generator().manual_seed(0), list[Tensor]()
    replay = made.allocate()
    add = replay.add
    replay.add = lambda *args, **rest: (stored.append(rest["reward"].clone()), add(*args, **rest))  # type: ignore
    for _ in range(20):
        following = torch.randn(2, 3, generator=rng)
        step, action = step_of(following, reward=7.0), torch.tensor([0, 1])
        made.store(obs, Acted(action), step)
        assert torch.equal(stored[-1], 1.0 + other(obs, action, step))
        obs = following
    assert (torch.stack(stored) > 1.0).all()


@pytest.mark.parametrize("kind", ["rnd", "icm", "episodic"])
def test_value_agents_learn_their_novelty_as_they_go(kind: Any) -> None:
    """Every 256 transitions; the metrics are those of the agent's updates."""
    made = DQN(BOX, TWO, dataclasses.replace(SMALL, intrinsic=kind), num_envs=4, seed=3)
    assert made.extras.intrinsic is not None
    obs, rng, metrics = torch.zeros(4, 3), torch.Generator().manual_seed(0), dict[str, Tensor]()
    for number in range(64):
        following = torch.randn(4, 3, generator=rng)
        made.store(obs, Acted(torch.tensor([0, 1, 0, 1])), step_of(following, ends=[number % 5 == 4] * 4))
        for _ in range(made.updates_due(made.env_step)):
            metrics = made.learn()
        assert ("intrinsic_loss" in made.extras.intrinsic.metrics) == (number == 63)
        obs = following
    assert metrics["intrinsic_reward"].isfinite()
    assert made.extras.intrinsic.recent.length == 0


def test_pqn_adds_novelty_after_clipping_and_scaling() -> None:
    config = PQNConfig(
        rollout_steps=1, minibatches=1, hidden_sizes=(8,), gamma=0.0, clip_rewards=True, reward_scale=2.0
    )
    made = PQN(BOX, TWO, dataclasses.replace(config, intrinsic="counts", intrinsic_coef=0.5), num_envs=2, seed=0)
    action = torch.tensor([0, 1])
    obs = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    made.store(obs, Acted(action, value=torch.zeros(2, 1), raw=action), step_of(obs + 1, reward=7.0))
    novelty = made.rollout.fields["novelty"][0]
    assert (novelty > 0).all()
    torch.testing.assert_close(made.targets()[0], 2.0 + novelty)


def test_no_seed_is_spawned_without_it() -> None:
    sequence = np.random.SeedSequence(0)
    own: dict[str, Any] = {"num_envs": 1, "device": CPU, "seed": sequence}
    assert build_intrinsic_reward(DQNConfig(), BOX, TWO, **own) is None
    assert sequence.n_children_spawned == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("dqn --intrinsic curiosity", "--intrinsic must be one of none, rnd, counts, icm, episodic, got curiosity"),
        ("dqn --intrinsic icm --intrinsic-coef -1", "--intrinsic-coef must be >= 0, got -1.0"),
        ("dqn --intrinsic icm --seeds 0:2", "intrinsic icm cannot be used in a population"),
        ("pqn --intrinsic icm --cuda-graphs", "--intrinsic icm cannot be combined with --cuda-graphs"),
    ],
)
def test_bad_input_is_one_line(words: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    agent, *rest = words.split()
    assert main(["train", agent, "--env", "gymnast/CartPole-v1", *rest]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
