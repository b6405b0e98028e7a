"""Heads: which layers they have, dueling streams, implicit quantiles, and the same numbers in NumPy."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents import DQN, DQNConfig
from gymnast.agents.base import Acted
from gymnast.envs.step import Step
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.fast.numpy_forward import numpy_forward
from gymnast.networks.heads.q import DuelingHead, ImplicitHead, QHead, QNetwork
from gymnast.networks.layers.noisy import draw_noise

BOX = spaces.Box(-np.inf, np.inf, (5,))
IMAGES = spaces.Box(0, 255, (4, 84, 84), np.uint8)
SMALL = DQNConfig(hidden_sizes=(8, 6), batch_size=4, replay_size=100)
AGGREGATIONS = pytest.mark.parametrize("aggregation", ["mean", "max"])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def agent(space: Any = BOX, *, network: nn.Module | None = None, **changes: Any) -> DQN:
    return DQN(space, spaces.Discrete(3), dataclasses.replace(SMALL, **changes), seed=1, network=network)


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in module.named_parameters() if weight.dim() > 1}


# Which layers lie where.


def test_the_last_hidden_layer_is_the_head_s() -> None:
    """So that streams split, and noise begins, where the papers' do: after the convolutions."""
    plain = shapes(agent(IMAGES, hidden_sizes=None).online)
    assert plain == {
        "backbone.convolutions.0.weight": (32, 4, 8, 8),
        "backbone.convolutions.1.weight": (64, 32, 4, 4),
        "backbone.convolutions.2.weight": (64, 64, 3, 3),
        "head.stream.hidden.0.weight": (512, 3136),
        "head.stream.output.weight": (3, 512),
    }
    dueling = shapes(agent(IMAGES, hidden_sizes=None, dueling=True, values="categorical").online.head)
    assert dueling == {
        "value.hidden.0.weight": (512, 3136),
        "value.output.weight": (51, 512),
        "advantage.hidden.0.weight": (512, 3136),
        "advantage.output.weight": (3 * 51, 512),
    }
    mlp = shapes(agent().online)
    assert mlp == {
        "backbone.layers.0.weight": (8, 5),
        "head.stream.hidden.0.weight": (6, 8),
        "head.stream.output.weight": (3, 6),
    }


class Own(nn.Module):
    """A user's backbone."""

    out_features = 5

    def forward(self, obs: Tensor) -> Tensor:
        return obs


def test_hidden_sizes_with_a_user_s_backbone_are_the_head_s() -> None:
    assert shapes(agent(network=Own()).online) == {
        "head.stream.hidden.0.weight": (8, 5),
        "head.stream.hidden.1.weight": (6, 8),
        "head.stream.output.weight": (3, 6),
    }
    assert shapes(agent(network=Own(), hidden_sizes=None).online) == {"head.stream.output.weight": (3, 5)}


# Dueling.


class Given(nn.Module):
    """A stream that gives its first inputs, or its last ones, as they are."""

    def __init__(self, columns: slice) -> None:
        super().__init__()
        self.columns = columns

    def forward(self, features: Tensor, noise: Tensor | None) -> Tensor:
        return features[:, self.columns]


def given(actions: int, outputs: int, aggregation: Any) -> DuelingHead:
    """A dueling head over [V, A] itself."""
    head = DuelingHead(1, actions, outputs, aggregation=aggregation)
    head.value, head.advantage = Given(slice(outputs)), Given(slice(outputs, None))
    return head


def test_dueling_by_hand() -> None:
    features = torch.tensor([[10.0, 1.0, 2.0, 6.0]])  # the value, and three advantages with mean 3 and maximum 6
    assert given(3, 1, "mean")(features).tolist() == [[[8.0], [9.0], [13.0]]]
    assert given(3, 1, "max")(features).tolist() == [[[5.0], [6.0], [10.0]]]
    # Two outputs: each is aggregated by itself.
    features = torch.tensor([[10.0, 20.0, 1.0, 5.0, 3.0, 1.0]])
    assert given(2, 2, "mean")(features).tolist() == [[[9.0, 22.0], [11.0, 18.0]]]
    assert given(2, 2, "max")(features).tolist() == [[[8.0, 20.0], [10.0, 16.0]]]


@AGGREGATIONS
def test_advantages_are_determined(aggregation: Any) -> None:
    """A constant added to all advantages of a state changes nothing."""
    features = torch.randn(7, 1 + 4, generator=generator())
    shifted = features.clone()
    shifted[:, 1:] += 3.0
    head = given(4, 1, aggregation)
    torch.testing.assert_close(head(features), head(shifted))
    q, value = head(features)[..., 0], features[:, 0]
    torch.testing.assert_close(q.mean(1) if aggregation == "mean" else q.amax(1), value)


@AGGREGATIONS
def test_the_values_of_a_state_do_not_depend_on_other_rows(aggregation: Any) -> None:
    learner = agent(dueling=True, dueling_aggregation=aggregation, noisy=True, values="quantile", quantiles=7)
    obs = torch.randn(6, 5, generator=generator())
    noise = torch.randn(1, learner.online.noise_size, generator=generator(1))
    with torch.no_grad():
        together = learner.online(obs, noise)
        for row in range(6):
            torch.testing.assert_close(learner.online(obs[row : row + 1], noise)[0], together[row])


@pytest.mark.parametrize("changes", [{"dueling": True}, {"dueling": True, "noisy": True}, {"values": "implicit"}])
def test_online_and_target_share_no_storage(changes: dict[str, Any]) -> None:
    learner = agent(**changes)
    ours, theirs = (
        {value.untyped_storage().data_ptr() for value in [*network.parameters(), *network.buffers()]}
        for network in (learner.online, learner.target)
    )
    assert not ours & theirs
    before = learner.target_weights.data.clone()
    learner.weights.data.fill_(7.0)
    assert torch.equal(learner.target_weights.data, before)


def test_gradients_of_both_streams_enter_the_features_scaled() -> None:
    """By 1/sqrt(2); the streams' own are whole (Wang et al. 2016, section 4.2)."""
    head = DuelingHead(4, 3, 1, hidden=(5,))
    features = torch.randn(2, 4, generator=generator()).requires_grad_()
    output = head(features)
    value, advantage = head.value(features), head.advantage(features)
    plain = (value + advantage - advantage.mean(1, keepdim=True)).unsqueeze(2)
    torch.testing.assert_close(output, plain)
    weights = head.advantage.hidden[0].weight
    scaled, whole = (torch.autograd.grad(q.square().sum(), [features, weights]) for q in (output, plain))
    torch.testing.assert_close(scaled[0], whole[0] / math.sqrt(2))
    torch.testing.assert_close(scaled[1], whole[1])


# Implicit quantiles.


def test_implicit_head_equals_the_formula() -> None:
    """phi_j = relu(sum_i cos(pi i tau) w_ij + b_j) for i = 0 … n - 1, times the features (eq. 4)."""
    head = ImplicitHead(4, QHead(4, 2, 1), quantiles=3, offset=1, cosines=5)
    features = torch.randn(2, 4, generator=generator())
    noise = torch.rand(1, 1 + 6, generator=generator(1))  # another part's column, then three fractions for each row
    output = head(features, noise)
    assert output.shape == (2, 2, 6)
    for row in range(2):
        for number in range(3):
            tau = noise[0, 1 + 3 * row + number]
            cosines = torch.stack([torch.cos(math.pi * i * tau) for i in range(5)])
            phi = torch.relu(head.embedding.weight @ cosines + head.embedding.bias)
            expected = head.head((features[row] * phi).unsqueeze(0))[0, :, 0]
            torch.testing.assert_close(output[row, :, number], expected)
            assert (output[row, :, 3 + number] == tau).all()
    assert head(features)[0, 0, 3:].tolist() == pytest.approx([1 / 6, 3 / 6, 5 / 6])


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("noise", ["factorised", "independent"])
def test_fractions_are_uniform_and_a_sample_s_own(noisy: bool, noise: Any) -> None:
    learner = agent(noisy=noisy, noise=noise, values="implicit", quantiles=50, batch_size=40)
    assert learner._noise is not None
    draw_noise(learner._noise, noise, generator(), weights=learner.online.noise_size)
    drawn = []
    for network_noise in learner._noise:
        with torch.no_grad():
            output = learner.online(torch.ones(40, 5), network_noise)
        drawn.append(output[:, 0, 50:])
        assert torch.equal(output[:, 0, 50:], output[:, 2, 50:])  # the actions of a sample share them
    fractions = torch.stack(drawn).flatten()
    assert fractions.numel() == 3 * 40 * 50
    assert len(fractions.unique()) > 5990  # for every network and sample others
    quarters = torch.histc(fractions, 4, 0, 1) / len(fractions)
    assert quarters.tolist() == pytest.approx([0.25] * 4, abs=0.03)


def test_actors_draw_fractions_for_each_row() -> None:
    learner = agent(values="implicit", quantiles=4)
    actor = learner.actor(3, explore=True, seed=0)
    values = np.concatenate([actor._q(torch.ones(3, 5)) for _ in range(2)])
    assert len(np.unique(values, axis=0)) == 6


def test_implicit_quantiles_learn_a_distribution() -> None:
    """Rewards of 0 or 1, as likely, and then the end: errors stay in the loss's square, so the value at tau is tau."""
    config = {"hidden_sizes": (32, 32), "quantiles": 8, "batch_size": 32, "replay_size": 500, "learning_rate": 3e-3}
    learner = agent(values="implicit", **config)
    rng, obs, no = np.random.default_rng(0), torch.ones(1, 5), torch.tensor([False])
    for _ in range(400):
        reward = torch.tensor([float(rng.integers(2))])
        step = Step(obs, ~no, obs, reward, ~no, no, num_active=1, num_ended=1)
        learner.store(obs, Acted(torch.tensor([0])), step)
    for _ in range(200):
        learner.learn()
    with torch.no_grad():
        values, fractions = learner.online(obs)[0, 0].chunk(2)
    torch.testing.assert_close(values, fractions, rtol=0, atol=0.15)


# The same in NumPy.


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dueling": True},
        {"dueling": True, "dueling_aggregation": "max"},
        {"noisy": True},
        {"noisy": True, "noise": "independent"},
        {"noisy": True, "dueling": True, "values": "categorical"},
        {"noisy": True, "noise": "independent", "dueling": True, "dueling_aggregation": "max", "values": "quantile"},
        {"hidden_sizes": (8,), "dueling": True, "noisy": True},
        {"hidden_sizes": (8, 7, 6), "dueling": True, "noisy": True},
    ],
)
def test_numpy_forward_equals_torch(rows: int, changes: dict[str, Any]) -> None:
    learner = agent(**changes)
    forward = learner.numpy_q
    assert forward is not None
    obs = torch.randn(rows, 5, generator=generator())
    noise = torch.randn(rows, learner.online.noise_size, generator=generator(1))
    learner.weights.data.mul_(1.5)  # it follows the weights
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(forward(obs.numpy())), learner.online(obs))
        if learner.online.noise_size:
            found = torch.from_numpy(forward(obs.numpy(), noise.numpy()))
            torch.testing.assert_close(found, learner.online(obs, noise))


@pytest.mark.parametrize(
    "changes",
    [
        {"values": "implicit"},
        {"activation": "tanh"},
        {"recurrent": "gru", "sequence_length": 4, "sequence_period": 2, "burn_in": 2},
        {"network": Own(), "hidden_sizes": None},
    ],
)
def test_other_networks_act_in_torch(changes: dict[str, Any]) -> None:
    assert agent(**changes).numpy_q is None


def test_an_unknown_layer_acts_in_torch() -> None:
    class Other(nn.Linear):
        """A layer that may do anything."""

        def forward(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
            return super().forward(features)

    network = copy.deepcopy(agent().online)
    unknown = QNetwork(network.backbone, DuelingHead(8, 3, 1, linear=Other))
    FlatParameters(unknown)
    assert numpy_forward(unknown) is None
    assert numpy_forward(network) is not None


@pytest.mark.parametrize("values", ["scalar", "rescaled", "categorical", "quantile", "implicit"])
@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_actions_are_greedy_in_the_mean_of_the_outputs(values: Any, num_envs: int, activation: str) -> None:
    """In NumPy (relu) and in torch (tanh); the first output of a distribution says nothing of its mean."""
    learner = agent(values=values, activation=activation, v_min=-1.0, v_max=1.0, quantiles=9)
    learner.weights.data.mul_(3.0)
    actor = learner.actor(num_envs, explore=False, seed=0)
    start = torch.ones(num_envs, dtype=torch.bool)
    seen = set()
    for seed in range(60):
        obs = torch.randn(num_envs, 5, generator=generator(seed)) * 3
        with torch.no_grad():
            best = learner.values.q(learner.online(obs)).argmax(1)
        assert torch.equal(actor.act(obs, start).action, best)
        seen |= set(best.tolist())
    assert len(seen) > 1
