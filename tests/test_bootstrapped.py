"""Bootstrapped DQN: every head's own target, shares of the data, priors, acting by one head and by all of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents import DQN, DQNConfig
from gymnast.agents.value.ensemble import EnsembleValues, learning_heads, votes
from gymnast.agents.value.ensemble_actor import EnsembleActor
from gymnast.agents.value.values import ScalarValues
from gymnast.cli.main import main
from gymnast.networks.heads.ensemble import EnsembleHead, PriorNetwork
from gymnast.networks.heads.q import QHead
from gymnast.replay.transitions import Batch
from tests.test_rainbow import Run

BOX = spaces.Box(-1, 1, (3,))
SMALL = DQNConfig(hidden_sizes=(6, 5), batch_size=4, replay_size=64, bootstrap_heads=3, loss="mse", quantiles=2)


def agent(**changes: Any) -> DQN:
    made = DQN(BOX, spaces.Discrete(2), dataclasses.replace(SMALL, **changes), seed=1)
    made.target_weights.data.normal_(0, 0.3, generator=torch.Generator().manual_seed(5))
    return made


def batch() -> Batch:
    rng = torch.Generator().manual_seed(3)
    obs, next_obs = torch.randn(2, 4, 3, generator=rng)
    weight = torch.tensor([1.0, 0.5, 1.0, 0.2])
    action, index = torch.tensor([0, 1, 1, 0]), torch.tensor([3, 17, 4, 60])
    discount = torch.tensor([0.9, 0.9, 0.0, 0.9])
    return Batch(obs, action, torch.randn(4, generator=rng), discount, next_obs, weight, None, index)


def test_the_loss_by_hand() -> None:
    """Two heads with targets 1.5 and 3: errors 0.5 and 1, and in the second sample only one head learns."""
    values = EnsembleValues(ScalarValues("mse"), 2)
    output = torch.tensor([[1.0, 2.0], [1.0, 2.0]])
    reward, discount = torch.tensor([[1.0, 1.0], [1.0, 1.0]]), torch.tensor([0.5, 0.5])
    following = torch.tensor([[1.0, 4.0, 1.0, 1.0], [1.0, 4.0, 0.0, 1.0]])
    loss, error = values.td_loss(output, reward, discount, following)
    assert loss.tolist() == [0.5**2 + 1.0, 1.0]
    assert error.tolist() == [0.75, 1.0]
    assert values.q(torch.tensor([[[1.0, 3.0], [0.0, 5.0]]])).tolist() == [[2.0, 2.5]]


@pytest.mark.parametrize("probability", [1.0, 0.5])
@pytest.mark.parametrize(
    "changes", [{}, {"double": True}, {"dueling": True}, {"prior_scale": 2.0}, {"double": True, "prior_scale": 0.5}]
)
def test_each_head_learns_from_its_own_target(changes: dict[str, Any], probability: float) -> None:
    made, drawn = agent(bootstrap_probability=probability, **changes), batch()
    loss, error, _ = made.loss(drawn, None)
    q, next_q, next_online = (
        network(obs).detach()
        for network, obs in ((made.online, drawn.obs), (made.target, drawn.next_obs), (made.online, drawn.next_obs))
    )
    learns = learning_heads(drawn.index, 3, probability=probability, key=made._backup.key)  # type: ignore[attr-defined]
    total = 0.0
    for row in range(4):
        errors = []
        for head in range(3):
            if not learns[row, head]:
                continue
            by = next_online if made.config.double else next_q
            best = int(by[row, :, head].argmax())
            aim = float(drawn.reward[row] + drawn.discount[row] * next_q[row, best, head])
            errors.append(abs(aim - float(q[row, drawn.action[row], head])))
            total += float(drawn.weight[row]) * errors[-1] ** 2 / 4
        assert error[row].item() == pytest.approx(np.mean(errors) if errors else 0.0, abs=1e-5)
    assert loss.item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"values": "categorical", "atoms": 4},
        {"values": "quantile"},
        {"values": "implicit", "noisy": True, "dueling": True},
        {"munchausen": True, "prior_scale": 1.0},
        {"values": "implicit", "prior_scale": 1.0},
    ],
)
def test_one_head_is_plain_dqn(changes: dict[str, Any]) -> None:
    """With every kind of values and of targets: the same loss and error, without a prior's shift the same weights."""
    one, plain = agent(bootstrap_heads=1, **changes), agent(bootstrap_heads=0, **changes | {"prior_scale": 0.0})
    if one.config.prior_scale:
        assert isinstance(one.online, PriorNetwork)
        one.online.scale = one.target.scale = 0.0  # type: ignore[assignment]
    for mine, theirs in ((one.online, plain.online), (one.target, plain.target)):
        own = {name.replace("head.heads.0.", "head."): part for name, part in mine.state_dict().items()}
        theirs.load_state_dict({name: part for name, part in own.items() if not name.startswith("prior.")})
    noise = None
    if plain._noise is not None:
        noise = plain._noise.uniform_(0.1, 0.9, generator=torch.Generator().manual_seed(0))
    for mine, theirs in zip(one.loss(batch(), noise), plain.loss(batch(), noise), strict=True):
        torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(one.q_values(batch().obs), plain.q_values(batch().obs))


def test_implicit_fractions_are_shared_and_not_moved_by_a_prior() -> None:
    made = agent(values="implicit", prior_scale=100.0)
    output = made.online(batch().obs).view(4, 2, 3, 4)  # two quantiles and their two fractions of each head
    assert (output[..., 2:] == torch.tensor([0.25, 0.75])).all()
    prior = made.online.prior(batch().obs)  # type: ignore[operator]
    made.online.scale = 0.0  # type: ignore[assignment]
    without = made.online(batch().obs).view(4, 2, 3, 4)
    torch.testing.assert_close((output - without)[..., :2], 100 * prior.unsqueeze(3).expand(-1, -1, -1, 2))


def test_priors_differ_between_heads_and_never_learn() -> None:
    run = Run("CartPole-v1", dataclasses.replace(SMALL, prior_scale=1.0, learning_starts=10, train_period=1))
    online = run.agent.online
    assert isinstance(online, PriorNetwork)
    before = {name: part.clone() for name, part in online.prior.state_dict().items()}
    run.go(60)
    after, target = online.prior.state_dict(), run.agent.target.prior.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(part, after[name]) and torch.equal(part, target[name]) for name, part in before.items())
    prior = online.prior(run.obs)[0]
    assert not torch.equal(prior[:, 0], prior[:, 1])
    assert not any(name.startswith("prior") for name, _ in run.agent.weights.layout)


def test_the_features_get_the_mean_of_the_heads_gradients() -> None:
    heads = [QHead(3, 2, 1), QHead(3, 2, 1)]
    features = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    joined = EnsembleHead(heads)
    joined(features).square().sum().backward()
    mine, own = features.grad, heads[0].stream.output.weight.grad.clone()  # type: ignore[union-attr, operator]
    features.grad, heads[0].stream.output.weight.grad = None, None  # type: ignore[union-attr]
    sum(head(features).square().sum() for head in heads).backward()  # type: ignore[union-attr]
    torch.testing.assert_close(mine, features.grad / 2)
    torch.testing.assert_close(own, heads[0].stream.output.weight.grad)


def test_a_decision_has_its_exact_gradient() -> None:
    """With all that scales the gradients of learning: dueling streams, heads, and a prior beside them."""
    made = agent(prior_scale=2.0, dueling=True, activation="tanh")
    obs = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (slope,) = torch.autograd.grad(made.decide(obs).preference[:, 0].sum(), obs)
    with torch.no_grad():
        for axis in range(3):
            step = 1e-2 * torch.eye(3)[axis]
            above, below = (made.decide(obs + way * step).preference[:, 0] for way in (1, -1))
            torch.testing.assert_close(slope[:, axis], (above - below) / 2e-2, rtol=1e-2, atol=1e-3)


def test_which_heads_learn_is_a_function_of_the_slot() -> None:
    slots = torch.arange(20_000)
    drawn = learning_heads(slots, 10, probability=0.3, key=7)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn.mean(0).tolist() == pytest.approx([0.3] * 10, abs=0.015)
    assert torch.equal(drawn[123:125], learning_heads(slots[123:125], 10, probability=0.3, key=7))
    assert not torch.equal(drawn, learning_heads(slots, 10, probability=0.3, key=8))
    assert np.corrcoef(drawn.T.numpy())[np.triu_indices(10, 1)].max() < 0.03
    assert learning_heads(slots, 10, probability=1.0, key=7).all()


def test_votes_by_hand() -> None:
    """Two of three heads prefer action 1; where votes are equal the mean decides; forbidden actions get no votes."""
    q = torch.tensor([[[9.0, 0.0, 0.0], [0.0, 1.0, 1.0], [-1.0, 0.5, 0.5]]])  # [1, A, H]
    assert votes(q, None).argmax(1).tolist() == [1]
    assert q.mean(2).argmax(1).tolist() == [0]
    allowed = torch.tensor([[True, False, True]])
    assert votes(q, allowed).argmax(1).tolist() == [2]
    even = torch.tensor([[[3.0, 0.0], [0.0, 1.0]]])
    assert votes(even, None).argmax(1).tolist() == [0]


def test_a_head_acts_for_a_whole_episode() -> None:
    made = agent(epsilon=0.0, bootstrap_heads=5)
    actor = made.actor(4, explore=True, seed=2)
    assert isinstance(actor, EnsembleActor)
    obs, rng = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), np.random.default_rng(0)
    before, seen = torch.full((4,), -1), list[Tensor]()
    for step in range(60):
        start = torch.from_numpy(rng.random(4) < 0.3) if step else torch.ones(4, dtype=torch.bool)
        action = actor.act(obs, start).action
        assert torch.equal(actor.heads[~start], before[~start])
        each = made.online(obs).gather(2, actor.heads.view(4, 1, 1).expand(4, 2, 1)).squeeze(2)
        assert torch.equal(action, each.argmax(1))
        before = actor.heads
        seen.append(before)
    assert set(torch.cat(seen).tolist()) == set(range(5))
    assert not all(torch.equal(row[:1].expand(4), row) for row in seen)  # each row has its own


@pytest.mark.parametrize("vote", [False, True])
def test_evaluation_uses_all_heads(vote: bool) -> None:
    made = agent(bootstrap_vote=vote)
    obs, start = torch.randn(9, 3, generator=torch.Generator().manual_seed(1)), torch.ones(9, dtype=torch.bool)
    heads = made.online(obs)
    expected = votes(heads, None).argmax(1) if vote else heads.mean(2).argmax(1)
    assert torch.equal(made.actor(9, explore=False, seed=0).act(obs, start).action, expected)
    assert torch.equal(made.actor(9, explore=False, seed=4).act(obs, start).action, expected)


def treasures(config: DQNConfig, episodes: int) -> list[bool]:
    """Which episodes of training found the treasure of a sea of eight rows, where actions are swapped at random."""
    run = Run("gymnast/DeepSea-v0", config, seed=1, size=8, randomise=True)
    found, ended = [], run.agent.store

    def store(obs: Any, acted: Any, step: Any) -> None:
        ended(obs, acted, step)
        found.extend((step.episode_return > 0.5).tolist() if step.num_ended else [])

    run.agent.store = store  # type: ignore[method-assign]
    run.go(8 * episodes)
    return found


@pytest.mark.slow
def test_it_finds_what_random_actions_do_not() -> None:
    """A dive at random finds the treasure once in 256 episodes; only deep exploration keeps on going to new cells."""
    plain = DQNConfig(
        hidden_sizes=(50, 50),
        batch_size=64,
        replay_size=10_000,
        learning_starts=64,
        train_period=2,
        target_period=40,
        learning_rate=1e-3,
        epsilon="linear:1:0.05:1500",
        double=True,
    )
    deep = dataclasses.replace(plain, bootstrap_heads=10, prior_scale=3.0, epsilon=0.0)
    assert sum(treasures(deep, 100)) >= 5
    assert sum(treasures(plain, 100)) <= 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--prior-scale 1", "--prior-scale needs --bootstrap-heads"),
        (
            "--bootstrap-heads 2 --prior-scale 1 --values categorical",
            "--prior-scale cannot be combined with values cat",
        ),
        ("--bootstrap-heads 2 --recurrent gru", "--bootstrap-heads needs recurrent none, got gru"),
        ("--bootstrap-heads 2 --bootstrap-probability 0", "--bootstrap-probability must be > 0 and <= 1, got 0.0"),
        ("--bootstrap-heads 2 --seeds 0:2", "bootstrap_heads 2 cannot be used in a population"),
    ],
)
def test_bad_input_is_one_line(words: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "dqn", "--env", "gymnast/CartPole-v1", *words.split()]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
