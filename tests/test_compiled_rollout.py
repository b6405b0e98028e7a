"""A rollout filled by compiled code is that of the plain loop: the same experience, numbers equal up to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gymnast import envs
from gymnast.agents.optim import optimizers
from gymnast.agents.policy.actor_critic import ActorCritic
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.networks.fast.compiled_mlp import LINEAR, RELU, TANH, Layer, Layers, forward, layers_of, widest
from gymnast.networks.fast.flat import FlatParameters
from gymnast.training.compiled_rollout import CompiledRollout, compiled_rollout
from gymnast.training.loop import Loop

ROWS = 3


def loop(env: str = "gymnast/CartPole-v1", *, overlap: bool = False, **config: Any) -> Loop:
    made = envs.make(env, ROWS, native=True, seed=3)
    settings = ActorCriticConfig(**{"rollout_steps": 50, "minibatches": 2, "hidden_sizes": (20, 7)} | config)
    agent = ActorCritic(made.single_observation_space, made.single_action_space, settings, num_envs=ROWS, seed=1)
    made.reset()
    return Loop(agent, agent.actor(ROWS, explore=True, seed=2), made, overlap=overlap)


def play_plainly(loop: Loop) -> None:
    while not loop.agent.rollout.full:  # type: ignore[attr-defined]
        obs = loop.env.obs
        acted = loop.actor.act(obs, loop.env.start, loop.env.action_mask)
        loop.agent.store(obs, acted, loop.env.step(acted.action))


@pytest.mark.parametrize(
    "config", [{}, {"activation": "relu", "trunk": "shared"}, {"policy_loss": "trust-region"}], ids=str
)
def test_a_compiled_rollout_is_the_plain_one(config: dict[str, Any]) -> None:
    one, other = loop(**config), loop(**config)
    assert isinstance(one._rollout, CompiledRollout)
    for _ in range(3):
        one.fill(one._rollout)
        play_plainly(other)
        fields, plain = one.agent.rollout.fields, other.agent.rollout.fields  # type: ignore[attr-defined]
        assert fields.keys() == plain.keys()
        for name, value in plain.items():
            assert fields[name].dtype == value.dtype
            over = plain["ended"] if name == "final_value" else torch.ones_like(plain["ended"])
            torch.testing.assert_close(fields[name][over], value[over], rtol=1e-5, atol=1e-6, msg=name)
        assert plain["ended"].any()
        last = [each.agent.estimates.last_value for each in (one, other)]  # type: ignore[attr-defined]
        torch.testing.assert_close(*last, rtol=1e-5, atol=1e-6)
        for name in ("obs", "start"):
            assert torch.equal(getattr(one.env, name), getattr(other.env, name))
        assert one.agent.env_step == other.agent.env_step == one.env_step
        one.agent.learn(), other.agent.learn()


def test_episodes_are_counted_once() -> None:
    one, other = loop(), loop()
    other._rollout = None
    for each in (one, other):
        each.advance(600, lambda: False)
    assert one.env_step == other.env_step == 600
    assert one.episodes.state_dict() == other.episodes.state_dict()
    assert one.episodes.count > 10


@pytest.mark.parametrize(
    "config",
    [
        {"env": "gymnast/Pendulum-v1"},
        {"overlap": True},
        {"normalise_obs": True},
        {"intrinsic": "rnd"},
        {"recurrent": "gru"},
        {"activation": "elu"},
    ],
    ids=str,
)
def test_what_compiled_code_does_not_know_is_played_plainly(config: dict[str, Any]) -> None:
    made = loop(**config)
    assert made._rollout is None
    assert (compiled_rollout(made.agent, made.actor, made.env) is None) == (config != {"overlap": True})


def layers(*sizes: tuple[int, int, int]) -> tuple[nn.Sequential, FlatParameters, Layers]:
    """Linear layers of inputs, outputs and activation, and their form for compiled code."""
    torch.manual_seed(0)
    module = nn.Sequential(*(nn.Linear(size, outputs) for size, outputs, _ in sizes))
    flat = FlatParameters(module)
    kinds = [kind for *_, kind in sizes]
    pairs = [Layer(layer, kind) for layer, kind in zip(module, kinds, strict=True) if isinstance(layer, nn.Linear)]
    return module, flat, layers_of(flat.data.numpy(), pairs)


def test_layers_follow_the_weights_and_compute_what_torch_does() -> None:
    module, flat, made = layers((5, 30, TANH), (30, 9, RELU), (9, 4, LINEAR))
    features, output = torch.randn(6, 5), torch.empty(6, 4)
    for _ in range(2):
        flat.data.mul_(1.5)
        forward(made, features.numpy(), output.numpy(), np.empty((2, widest(made)), np.float32))
        with torch.no_grad():
            expected = module[2](module[1](module[0](features).tanh()).relu())
        torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-6)


def test_tanh_is_that_of_numpy() -> None:
    _, flat, made = layers((1, 1, TANH))
    flat.data.copy_(torch.tensor([1.0, 0.0]))
    x = np.linspace(-15, 15, 3001, dtype=np.float32)[:, None]
    output = np.empty_like(x)
    forward(made, x, output, np.empty((2, 1), np.float32))
    assert np.abs(output - np.tanh(x.astype(np.float64))).max() < 4e-7


@pytest.mark.parametrize("rows", [1, 8, 200])
def test_few_rows_act_as_many_do(rows: int) -> None:
    made = loop()
    agent, obs = made.agent, torch.randn(rows, 4)
    assert isinstance(agent, ActorCritic)
    assert agent.plain is not None
    with torch.no_grad():
        for one, other in zip(agent.plain(obs), agent.network(obs), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_adams_step_is_torchs() -> None:
    one, other = (nn.Parameter(torch.linspace(-1, 1, 50)) for _ in range(2))
    mine = optimizers.build("adam", one, lr=1e-2, eps=1e-5)
    step, theirs = optimizers.stepper(mine), torch.optim.Adam([other], lr=1e-2, eps=1e-5, fused=True)
    for number in range(6):
        one.grad = other.grad = torch.cos(torch.arange(50.0) * number)
        if number == 3:  # loading a state gives it new tensors
            mine.load_state_dict(mine.state_dict())
            optimizers.set_learning_rate(mine, 5e-3)
            theirs.param_groups[0]["lr"] = 5e-3
        step(), theirs.step()
    assert torch.equal(one, other)
    assert float(mine.state[one]["step"]) == 6
