"""A rollout filled by compiled code is that of the plain loop: the same experience, numbers equal up to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gymnast import envs
from gymnast.agents.policy.actor_critic import ActorCritic
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.networks.fast.compiled_mlp import LINEAR, RELU, TANH, CompiledMLP, forward
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


@pytest.mark.parametrize("config", [{}, {"activation": "relu", "trunk": "shared"}])
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


def test_layers_compute_what_numpy_does() -> None:
    generator = np.random.default_rng(0)
    sizes = [(5, 30, TANH), (30, 9, RELU), (9, 4, LINEAR)]
    layers = [
        (generator.normal(size=(out, size)).astype(np.float32), generator.normal(size=out).astype(np.float32), kind)
        for size, out, kind in sizes
    ]
    features = generator.normal(size=(6, 5)).astype(np.float32)
    net, output = CompiledMLP(layers), np.empty((6, 4), np.float32)
    forward(net.refresh(), features, output, np.empty((2, net.width), np.float32))
    expected = features.astype(np.float64)
    for weight, bias, kind in layers:
        expected = expected @ weight.T + bias
        expected = np.tanh(expected) if kind == TANH else np.maximum(expected, 0) if kind == RELU else expected
    np.testing.assert_allclose(output, expected, rtol=2e-5, atol=2e-6)


def test_tanh_is_that_of_numpy() -> None:
    x = np.linspace(-15, 15, 3001, dtype=np.float32)[:, None]
    one = np.ones((1, 1), np.float32)
    net, output = CompiledMLP([(one, np.zeros(1, np.float32), TANH), (one, np.zeros(1, np.float32), LINEAR)]), x.copy()
    forward(net.refresh(), x, output, np.empty((2, 1), np.float32))
    assert np.abs(output - np.tanh(x.astype(np.float64))).max() < 2.5e-7
