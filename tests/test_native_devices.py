"""Device-native environments on a GPU: discrete games are those of the CPU bit for bit, the others close to them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from gymnast.envs import make
from gymnast.envs.native.adapter import NativeEnv
from gymnast.envs.registration import NATIVE

ROWS, STEPS = 128, 200
LONG = ("CliffWalking", "Freeway")
"""Whose episodes seldom end within so many random steps."""
CONTINUOUS = ("CartPole", "Acrobot", "MountainCar", "Pendulum")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


def leaves(obs: Any) -> list[Tensor]:
    """All tensors of an observation, in order."""
    if isinstance(obs, dict):
        return [leaf for part in obs.values() for leaf in leaves(part)]
    return [obs.cpu()]


def script_of(env: NativeEnv) -> Tensor:
    """Random actions, [STEPS, ROWS, ...]."""
    rng, space = np.random.default_rng(0), env.single_action_space
    if isinstance(space, gym.spaces.Discrete):
        return torch.from_numpy(rng.integers(space.start, space.start + space.n, (STEPS, ROWS)))
    assert isinstance(space, gym.spaces.Box)
    return torch.from_numpy(rng.uniform(space.low, space.high, (STEPS, ROWS, *space.shape)).astype(np.float32))


@pytest.mark.parametrize("id", [id for id in NATIVE if not any(name in id for name in CONTINUOUS)])
@pytest.mark.parametrize("compile", [False, True])
def test_discrete_games_are_the_same_on_both(id: str, compile: bool) -> None:
    if compile and id not in ("gymnast/MinAtar-Asterix-v1", "gymnast/Taxi-v4", "gymnast/Blackjack-v1"):
        pytest.skip("three stand for all: each is compiled for half a minute")
    here = make(id, ROWS, seed=3, native=True)
    there = make(id, ROWS, seed=3, native=True, device="cuda", compile=compile)
    assert isinstance(here, NativeEnv)
    assert all(torch.equal(*pair) for pair in zip(leaves(here.reset()), leaves(there.reset()), strict=True))
    ended = 0
    for action in script_of(here):
        one, other = here.step(action), there.step(action.cuda())
        for name in ("obs", "next_obs"):
            pairs = zip(leaves(getattr(one, name)), leaves(getattr(other, name)), strict=True)
            assert all(torch.equal(*pair) for pair in pairs)
        for name in ("reward", "terminated", "truncated", "start"):
            assert torch.equal(getattr(one, name), getattr(other, name).cpu())
        ended += int(one.ended.sum())
    assert ended > 0 or any(name in id for name in LONG)


@pytest.mark.parametrize("id", [id for id in NATIVE if any(name in id for name in CONTINUOUS)])
def test_continuous_games_differ_by_rounding(id: str) -> None:
    """Each step from the CPU's state, since rounding grows over an episode."""
    here, there = (make(id, ROWS, seed=3, native=True, device=device) for device in ("cpu", "cuda"))
    assert isinstance(here, NativeEnv)
    torch.testing.assert_close(there.reset().cpu(), here.reset(), rtol=0, atol=1e-6)
    for action in script_of(here):
        there.restore(here.snapshot())
        one, other = here.step(action), there.step(action.cuda())
        torch.testing.assert_close(other.next_obs.cpu(), one.next_obs, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(other.reward.cpu(), one.reward, rtol=1e-6, atol=1e-6)
        assert torch.equal(other.ended.cpu(), one.ended)
