"""Weight penalties and max-norm: sums by hand, what counts as a weight, and the updates of every agent with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor, nn

from gymnast.agents import DQN, PPO, PQN, ActorCriticConfig, DQNConfig, PQNConfig, Reinforce, ReinforceConfig
from gymnast.agents.encoder import set_rates
from gymnast.agents.optim.regularise import FlatPenalty, Regulariser, bounded, regulariser
from gymnast.cli.main import main
from gymnast.envs.step import Step
from gymnast.networks.build import build
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.layers.noisy import NoisyLinear
from gymnast.networks.layers.penalties import max_norm_, penalty, weights

BOX, ACTIONS = Box(-1, 1, (5,), np.float32), Discrete(3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network() -> nn.Sequential:
    """Weights 3, -4 and 12; a bias of 7, which does not count."""
    layer, norm = nn.Linear(2, 1), nn.LayerNorm(1)
    head = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, -4.0]]))
        layer.bias.fill_(7.0)
        head.weight.fill_(12.0)
    return nn.Sequential(layer, norm, head)


@pytest.mark.parametrize(
    ("name", "value"),
    [("none", 0.0), ("l1", 3 + 4 + 12), ("l2", 9 + 16 + 144), ("elastic", 3 + 4 + 12 + 9 + 16 + 144)],
)
def test_penalties_by_hand(name: str, value: float) -> None:
    assert float(penalty(name, network(), 0.5).detach()) == pytest.approx(0.5 * value)
    assert float(penalty(name, nn.LayerNorm(3), 0.5)) == 0.0  # it has no weights


@pytest.mark.parametrize("name", ["l1", "l2", "elastic"])
def test_the_flat_gradient_is_autograds(name: str) -> None:
    module = build("minatar-cnn", Box(0, 1, (10, 10, 4), np.float32), layer_norm=True, generator=generator())
    flat = FlatParameters(module)  # its convolution does not lie in memory as it is counted
    penalty(name, module, 0.3).backward()  # type: ignore[no-untyped-call]
    expected = flat.grad.clone()
    flat.grad.fill_(2.0)
    value = FlatPenalty(flat, name, 0.3).add_gradient()
    torch.testing.assert_close(flat.grad, expected + 2.0)
    torch.testing.assert_close(value, penalty(name, module, 0.3).detach())
    for path, parameter in module.named_parameters():
        assert bool((flat.gradient(parameter) == 2.0).all()) == ("norm" in path or "bias" in path), path


def test_what_counts_as_a_weight() -> None:
    module = nn.ModuleDict(
        {
            "conv": nn.Conv2d(2, 3, 3),
            "lstm": nn.LSTM(2, 3),
            "norm": nn.LayerNorm((2, 2)),
            "noisy": NoisyLinear(2, 3, kind="factorised", sigma=0.5, offset=0),
            "frozen": nn.Linear(2, 2).requires_grad_(False),
            "lengths": torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)),
        }
    )
    assert [name for name, _ in weights(module)] == [
        *("conv.weight", "lstm.weight_ih_l0", "lstm.weight_hh_l0", "noisy.weight"),
        "lengths.parametrizations.weight.original0",
    ]


def test_max_norm_bounds_each_unit_and_leaves_shorter_ones() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Conv2d(2, 5, 3))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[3.0, 4, 0], [0, 0, 1], [0, 0, 0], [-6, 0, 8]]))
        module[0].bias.fill_(9.0)
        module[1].weight.normal_(generator=generator())
    before = module[1].weight.clone()
    max_norm_(module, 2.0)
    torch.testing.assert_close(
        module[0].weight.detach(), torch.tensor([[1.2, 1.6, 0], [0, 0, 1], [0, 0, 0], [-1.2, 0, 1.6]])
    )
    assert module[0].bias.tolist() == [9.0] * 4
    assert module[1].weight.flatten(1).norm(dim=1).max() <= 2.0 + 1e-5
    after = before / before.flatten(1).norm(dim=1).div(2.0).clamp(min=1.0).view(-1, 1, 1, 1)
    torch.testing.assert_close(module[1].weight, after)


def test_max_norm_holds_the_lengths_of_normalised_weights() -> None:
    layer = torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))
    with torch.no_grad():
        layer.parametrizations.weight.original0.fill_(-5.0)  # type: ignore[union-attr, operator]
    max_norm_(layer, 2.0)
    torch.testing.assert_close(layer.weight.norm(dim=1).detach(), torch.full((4,), 2.0))


AGENTS: dict[str, Any] = {
    "ppo": (PPO, ActorCriticConfig, {"rollout_steps": 8, "minibatches": 1, "epochs": 1}),
    "ppo, autograd": (
        PPO,
        ActorCriticConfig,
        {"rollout_steps": 8, "minibatches": 1, "epochs": 1, "activation": "gelu"},
    ),
    "ppo, lstm": (PPO, ActorCriticConfig, {"rollout_steps": 8, "minibatches": 1, "epochs": 1, "recurrent": "lstm"}),
    "pqn": (PQN, PQNConfig, {"rollout_steps": 8, "minibatches": 1, "epochs": 1}),
    "reinforce": (Reinforce, ReinforceConfig, {"episodes": 2}),
    "dqn": (DQN, DQNConfig, {"learning_starts": 16, "replay_size": 64, "batch_size": 8}),
    "rainbow": (DQN, DQNConfig, {"learning_starts": 16, "replay_size": 64, "noisy": True, "dueling": True}),
    "r2d2": (
        DQN,
        DQNConfig,
        {
            "learning_starts": 16,
            "replay_size": 64,
            "recurrent": "lstm",
            "burn_in": 0,
            "sequence_length": 4,
            "sequence_period": 4,
        },
    ),
}


def learned(name: str, **settings: Any) -> Any:
    """An agent after one update by gradient descent, from the same data."""
    cls, config, own = AGENTS[name]
    descent = {"optimizer": "sgd", "optimizer_eps": None, "learning_rate": 1.0, "max_grad_norm": None}
    agent = cls(BOX, ACTIONS, config(**{**descent, **own, **settings}), num_envs=2, seed=1)
    agent.first = agent.weights.data.clone()
    actor, drawn = agent.actor(2, explore=True, seed=0), generator(3)
    obs, start, steps = torch.randn(2, 5, generator=drawn), torch.ones(2, dtype=torch.bool), 0
    while not agent.updates_due(agent.env_step):
        following, reward = torch.randn(2, 5, generator=drawn), torch.randn(2, generator=drawn)
        acted, steps = actor.act(obs, start), steps + 1
        start = torch.full((2,), steps % 6 == 0)
        never = torch.zeros(2, dtype=torch.bool)
        agent.store(obs, acted, Step(following, start, following, reward, start, never, 2, 2 * int(steps % 6 == 0)))
        obs = following
    agent.metrics = agent.learn()
    return agent


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("name", ["l1", "l2", "elastic"])
def test_a_step_of_gradient_descent_has_the_penalty(agent: str, name: str) -> None:
    """The difference that it makes to a step of size 1 is its gradient, whichever way the loss's is computed."""
    plain, penalised = learned(agent), learned(agent, weight_penalty=name, penalty_weight=0.01)
    assert torch.equal(plain.first, penalised.first)
    flat = penalised.weights
    moved = flat.data.clone()
    flat.data.copy_(penalised.first)
    flat.grad.zero_()
    value = penalty(name, flat.module, 0.01)
    value.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(plain.weights.data - moved, flat.grad, rtol=1e-3, atol=1e-5)
    assert float(flat.grad.abs().max()) > 1e-4
    torch.testing.assert_close(penalised.metrics["penalty"], value.detach())
    assert "penalty" not in plain.metrics


@pytest.mark.parametrize("agent", AGENTS)
def test_no_unit_is_longer_after_an_update(agent: str) -> None:
    free, bound = learned(agent), learned(agent, max_norm=0.4)
    module = bound.weights.module
    of_units = {name: weight.detach().flatten(1).norm(dim=1) for name, weight in weights(module)}
    assert max(float(norm.max()) for norm in of_units.values()) <= 0.4 + 1e-5
    assert any(float(weight.detach().flatten(1).norm(dim=1).max()) > 0.4 for _, weight in weights(free.weights.module))
    for (name, mine), theirs in zip(module.named_parameters(), free.weights.module.parameters(), strict=True):
        if name not in of_units:
            assert torch.equal(mine, theirs), name  # biases
    states = bound.state_dict()
    other = type(bound)(BOX, ACTIONS, bound.config, num_envs=2, seed=9)
    other.load_state_dict(states)
    assert torch.equal(other.weights.data, bound.weights.data)


@pytest.mark.parametrize("agent", AGENTS)
def test_weights_decay_by_a_share_of_the_learning_rate_and_biases_do_not(agent: str) -> None:
    """The step is that without decay, from weights that are smaller by this share (AdamW)."""
    plain, decayed = learned(agent), learned(agent, weight_decay=0.25)
    rate = decayed.optimizer.param_groups[0]["lr"]
    assert torch.equal(plain.first, decayed.first)
    chosen = {name for name, _ in weights(decayed.weights.module)}
    assert 0 < len(chosen) < len(decayed.weights.layout)
    first = dict(zip((name for name, _ in decayed.weights.layout), parts(decayed, decayed.first), strict=True))
    theirs = dict(plain.weights.module.named_parameters())
    for (name, _), mine in zip(decayed.weights.layout, parts(decayed, decayed.weights.data), strict=True):
        lost = 0.25 * rate * first[name] if name in chosen else torch.zeros(())
        torch.testing.assert_close(mine, in_order(theirs[name]) - lost, msg=name)


def parts(agent: Any, flat: Tensor) -> tuple[Tensor, ...]:
    """A flat tensor by parameters."""
    return torch.split(flat, [size for _, size in agent.weights.layout])


def in_order(parameter: Tensor) -> Tensor:
    """The entries of a parameter as they lie in memory."""
    last = parameter.dim() == 4 and parameter.is_contiguous(memory_format=torch.channels_last)
    return (parameter.permute(0, 2, 3, 1) if last else parameter).detach().flatten()


def test_the_encoder_decays_by_its_own_rate() -> None:
    agent = DQN(BOX, ACTIONS, DQNConfig(weight_decay=0.5, learning_rate=0.1, encoder_learning_rate=0.01), seed=1)
    before = {name: one.detach().clone() for name, one in agent.online.named_parameters()}
    set_rates(agent.optimizer, 0, agent.learning_rate, agent.encoder_rate)
    agent._update._step()  # without a gradient Adam moves nothing
    for name, one in agent.online.named_parameters():
        rate = 0.01 if name.startswith("backbone.") else 0.1
        kept = 1.0 - 0.5 * rate if one.dim() > 1 else 1.0
        torch.testing.assert_close(one.detach(), kept * before[name])


def test_off_costs_nothing() -> None:
    agent = PPO(BOX, ACTIONS)
    assert regulariser(agent.config, agent.weights) == Regulariser()
    assert agent._update._penalty is None
    step = agent._update._step
    assert "bounded" in bounded(step, agent.weights, 1.0).__qualname__  # type: ignore[attr-defined]
    assert "bounded" not in getattr(step, "__qualname__", "")


@pytest.mark.long
def test_compiled_updates_have_both() -> None:
    settings = {"weight_penalty": "elastic", "penalty_weight": 0.01, "max_norm": 0.5, "activation": "gelu"}
    eager, compiled = learned("ppo", **settings), learned("ppo", **settings, compile=True)
    torch.testing.assert_close(eager.weights.data, compiled.weights.data, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(eager.metrics["penalty"], compiled.metrics["penalty"])


@pytest.mark.parametrize("config", [ActorCriticConfig, PQNConfig, ReinforceConfig, DQNConfig])
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"weight_penalty": "l3"}, "weight_penalty must be one of none, l1, l2, elastic, got 'l3'"),
        ({"penalty_weight": 0.0}, "penalty_weight must be > 0, got 0.0"),
        ({"penalty_weight": float("inf")}, "penalty_weight must be > 0, got inf"),
        ({"max_norm": -1.0}, "max_norm must be > 0, got -1.0"),
        ({"weight_decay": -0.1}, "weight_decay must be >= 0, got -0.1"),
    ],
)
def test_mistakes(config: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config(**settings)


def test_workers_have_no_max_norm(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "a3c", "--env", "CartPole-v1", "--max-norm", "3"]) == 2
    said = capsys.readouterr().err
    assert said == "gymnast: --max-norm 3.0 cannot be combined with workers: they share their weights\n"
