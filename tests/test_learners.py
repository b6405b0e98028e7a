"""Several learners learn what one learner with all their rows would: the maths, in threads, and what is refused."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from gymnast import envs
from gymnast.agents import PQN, ActorCritic, ActorCriticConfig, PQNConfig
from gymnast.agents.maths import means, policy_gradient
from gymnast.agents.optim import together
from gymnast.agents.optim.together import Rows, Together
from gymnast.agents.samples import ValueSamples, minibatches
from gymnast.cli.main import main
from gymnast.networks.layers.normalise import RunningNorm
from gymnast.settings import agents
from gymnast.training.learners import SharedEpisodes
from tests.learners import Threads, alone_and_together, at_once

PPO = ActorCriticConfig(rollout_steps=16, minibatches=4, epochs=3, learning_rate=1e-3)
A2C = replace(agents.default_config("a2c"), rollout_steps=8)
CASES: dict[str, tuple[Any, Any, str]] = {
    "ppo, whose gradient is compiled": (ActorCritic, PPO, "CartPole-v1"),
    "a2c": (ActorCritic, A2C, "CartPole-v1"),
    "normalisers": (ActorCritic, replace(PPO, normalise_obs=True, normalise_rewards=True), "CartPole-v1"),
    "box actions, a penalty": (ActorCritic, replace(PPO, value_clip=0.2, weight_penalty="l2"), "Pendulum-v1"),
    "an early stop by the divergence": (
        ActorCritic,
        replace(PPO, target_kl=1e-3, learning_rate=1e-2),
        "CartPole-v1",
    ),
    "sequences": (ActorCritic, replace(PPO, recurrent="gru", memory_size=8, sequence_length=8), "CartPole-v1"),
    "v-trace": (ActorCritic, replace(PPO, advantage="vtrace"), "CartPole-v1"),
    "autograd": (ActorCritic, replace(PPO, activation="gelu"), "CartPole-v1"),
    "pixels": (ActorCritic, replace(PPO, minibatches=2), "MinAtar/Breakout-v1"),
    "pqn, whose gradient is compiled": (PQN, PQNConfig(rollout_steps=16, minibatches=4, epsilon=0.3), "CartPole-v1"),
    "pqn by autograd": (PQN, PQNConfig(rollout_steps=16, minibatches=4, activation="gelu"), "CartPole-v1"),
}


@pytest.mark.parametrize("case", CASES)
def test_learners_learn_what_one_with_all_rows_does(case: str) -> None:
    (alone, numbers), learned = alone_and_together(*CASES[case])
    moved = alone.weights.data - alone_and_together(*CASES[case], rollouts=0)[0][0].weights.data
    assert moved.abs().max() > 1e-4
    for agent, found in learned:
        torch.testing.assert_close(agent.weights.data, alone.weights.data, rtol=0.0, atol=1e-5)
        assert (agent.env_step, agent.updates) == (alone.env_step, alone.updates)
        for mine, whole in zip(found, numbers, strict=True):
            assert mine == pytest.approx(whole, rel=1e-4, abs=1e-5)
    (first, found), (second, same) = learned
    assert torch.equal(first.weights.data, second.weights.data)
    assert found == same
    for mine, yours in zip(first.network.buffers(), second.network.buffers(), strict=True):
        assert torch.equal(mine, yours)


def test_four_learners_whose_shares_may_hold_nothing() -> None:
    """Four of sixteen samples in a minibatch: many hold none of a learner's four."""
    config = replace(PPO, rollout_steps=4, minibatches=4)
    (alone, _), learned = alone_and_together(ActorCritic, config, "CartPole-v1", learners=4, rollouts=5)
    for agent, _ in learned:
        torch.testing.assert_close(agent.weights.data, alone.weights.data, rtol=0.0, atol=1e-5)


def test_rows_know_their_samples() -> None:
    """Samples of three rows, two of them here: number 0 to 2 are the first step's."""
    rows = Rows(first=1, own=2, total=3)
    index = torch.tensor([5, 0, 3, 4, 1])  # steps 1, 0, 1, 1, 0 of rows 2, 0, 0, 1, 1
    assert rows.numbers(index).tolist() == [3, 2, 0]
    values = torch.tensor([[7.0], [8.0]])
    assert rows.among_all(values).tolist() == [[0.0], [7.0], [8.0]]
    assert torch.equal(rows.of(rows.among_all(values)), values)


def learner(number: int, count: int = 2, rows: int = 1) -> Together:
    return Threads(number, count, rows, [None] * count, threading.Barrier(count))


def test_minibatches_are_shares_of_one_learners() -> None:
    """Sample 10 t + n of step t and row n: every learner has its rows' samples of each minibatch of all."""

    def samples(first: int, count: int) -> ValueSamples:
        number = (torch.arange(6)[:, None] * 10 + torch.arange(first, first + count)).flatten()
        return ValueSamples(number, number, number, torch.ones(len(number)))

    def drawn(parts: Any) -> list[set[int]]:
        return [set(part.gathered().obs.tolist()) for part in parts]

    seeded = [torch.Generator().manual_seed(5) for _ in range(3)]
    whole = drawn(minibatches(samples(0, 4), 5, seeded[0]))
    shares = [drawn(learner(n, 2, 2).minibatches(samples(2 * n, 2), 5, seeded[n + 1])) for n in range(2)]
    assert [first | second for first, second in zip(*shares, strict=True)] == whole
    assert all(number % 10 < 2 for part in shares[0] for number in part)


def test_advantages_are_normalised_over_all_shares() -> None:
    values = torch.tensor([1.0, 2.0, 4.0, 9.0, 16.0])
    weight = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0])
    parts = [(values[:2], weight[:2]), (values[2:], weight[2:])]
    expected = policy_gradient.normalised(values, means.shares(weight))

    def moments(number: int, table: Any, barrier: Any) -> Any:
        return Threads(number, 2, 1, table, barrier).moments([parts[number]])

    for mean, variance in at_once(2, moments):
        torch.testing.assert_close(((values - mean) / variance.sqrt()).float(), expected)
    explained = means.explained_variance(values * 0.5, values, means.shares(weight))

    def of_share(number: int, table: Any, barrier: Any) -> Any:
        own, counted = parts[number]
        return Threads(number, 2, 1, table, barrier).explained_variance(own * 0.5, own, counted)

    assert at_once(2, of_share) == [pytest.approx(float(explained))] * 2


def test_statistics_count_what_all_learners_see() -> None:
    seen = torch.randn(3, 40, 5, generator=torch.Generator().manual_seed(0)) * 3 + 7
    weight = (torch.arange(40) % 3 > 0).float()
    whole = RunningNorm(spaces.Box(-9, 9, (5,)))
    for batch in seen:
        whole.update(batch, weight)

    def of_share(number: int, table: Any, barrier: Any) -> RunningNorm:
        norm = RunningNorm(spaces.Box(-9, 9, (5,)))
        Threads(number, 2, 1, table, barrier).share_statistics(None, norm)
        own = slice(0, 15) if number == 0 else slice(15, 40)
        for batch in seen:
            norm.update(batch[own], weight[own])
        return norm

    first, second = at_once(2, of_share)
    torch.testing.assert_close(first.state_dict(), whole.state_dict())
    assert all(torch.equal(*pair) for pair in zip(first.buffers(), second.buffers(), strict=True))


def test_episodes_of_all_learners_are_counted_once_and_in_their_order() -> None:
    first, second = SharedEpisodes(), SharedEpisodes()
    first.kept = []
    first.add(1.0, 10, env_step=20)
    first.add(3.0, 12, env_step=40)
    second.add_all([2.0], [11], env_step=20)
    second.count += 5  # which only a device has counted
    for _ in range(2):  # the second time there is nothing new
        told = [first.untold(), second.untold()]
        for episodes in (first, second):
            episodes.pool(told)
            assert list(episodes.returns) == [1.0, 2.0, 3.0]
            assert episodes.count == 8
    assert first.take() == [(20, 1.0, 10), (20, 2.0, 11), (40, 3.0, 12)]
    again = SharedEpisodes()
    again.load_state_dict(first.state_dict())
    again.pool([again.untold()])
    assert again.count == 8


@pytest.mark.parametrize(
    ("id", "how"),
    [
        ("CartPole-v1", {}),
        ("gymnast/Catch-v0", {}),
        ("ALE/Pong-v5", {}),
        pytest.param("CartPole-v1", {"vectorization": "async"}, marks=pytest.mark.slow),
    ],
)
def test_some_rows_are_those_of_all(id: str, how: Any) -> None:
    whole, part = envs.make(id, 4, seed=3, **how), envs.make(id, 2, seed=3, first_row=2, **how)
    rng = np.random.default_rng(0)
    try:
        assert torch.equal(whole.reset()[2:], part.reset())
        for _ in range(60):
            action = torch.from_numpy(rng.integers(0, 2, 4))
            of_all, own = whole.step(action), part.step(action[2:])
            assert torch.equal(of_all.obs[2:], own.obs)
            assert torch.equal(of_all.reward[2:], own.reward)
    finally:
        whole.close()
        part.close()


def test_later_seeds_of_games_are_those_of_no_other_row() -> None:
    whole = envs.make("ALE/Pong-v5", 4, seed=3)
    part = envs.make("ALE/Pong-v5", 2, seed=3, first_row=2)
    for env in (whole, part):
        env.reset()
    later = [env._rng.integers(2**31, size=8).tolist() for env in (whole, part)]
    assert not set(later[0]) & set(later[1])
    whole.close()
    part.close()


RUN = ["train", "ppo", "--env", "CartPole-v1", "--learners", "2", "--num-envs", "4", "--steps", "100", "--no-video"]
REFUSED: dict[str, tuple[list[str], str]] = {
    "rows": (["--num-envs", "5"], "num_envs must be a multiple of learners 2, got 5"),
    "default rows": (["--num-envs", "1"], "num_envs must be a multiple of learners 2, got 1"),
    "no learner": (["--learners", "0"], "--learners must be >= 1, got 0"),
    "ray": (
        ["--learners", "1", "--ray", "local"],
        "ray local has no effect without learners, actors, workers or seeds",
    ),
    "no address": (["--ray", ""], "--ray must be local or the address of a cluster, got ''"),
    "overlap": (["--overlap"], "overlap cannot be combined with learners"),
    "profile": (["--profile"], "profile cannot be combined with learners"),
    "compile": (["--compile"], "compile cannot be combined with learners: each learner's share"),
    "novelty": (["--intrinsic", "rnd"], "intrinsic rnd cannot be combined with learners: novelty has"),
    "auxiliary": (["--auxiliary", "reward"], "auxiliary reward cannot be combined with learners: it has"),
    "dropout": (["--network", "mlp", "--network.dropout", "0.1"], "learners cannot train a network with dropout"),
    "dream": (["--env", "dream:runs/none"], "learners cannot be combined with a dream"),
    "population": (["--seeds", "0:2"], "--learners cannot be combined with --seeds"),
}


def given(words: list[str]) -> list[str]:
    """The words of a run with others in place of its own."""
    own = {RUN[at]: RUN[at + 1] for at in range(2, len(RUN) - 1, 2)}
    flags = {word for word in words if word.startswith("--")}
    kept = [word for name, value in own.items() if name not in flags for word in (name, value)]
    return [*RUN[:2], *kept, RUN[-1], *words]


@pytest.mark.parametrize("case", REFUSED)
def test_what_learners_cannot_do_is_one_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, message = REFUSED[case]
    assert main([*given(words), "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("agent", ["dqn", "q-learning", "trpo", "a3c", "sac"])
def test_agents_that_learn_alone_are_refused(agent: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = {"q-learning": "FrozenLake-v1", "sac": "Pendulum-v1"}.get(agent, "CartPole-v1")
    words = ["train", agent, "--env", env, "--learners", "2", "--num-envs", "2", "--out", str(tmp_path)]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "learners" in said
    assert said.count("\n") == 1


def test_batch_normalisation_is_refused() -> None:
    agent = ActorCritic(spaces.Box(-1, 1, (3,)), spaces.Discrete(2), PPO)
    together.check_network(agent.network)
    agent.network.actor.backbone.add_module("normed", nn.BatchNorm1d(3))
    with pytest.raises(ValueError, match="batch normalisation"):
        together.check_network(agent.network)
