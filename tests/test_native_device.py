"""On a device the host reads nothing of a step, and no shape or dtype changes: seen where tensors have no values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast.envs.native.adapter import NativeEnv
from gymnast.envs.native.vector import NativeVectorEnv
from gymnast.envs.registration import NATIVE
from gymnast.training.episodes import EndedEpisodes
from tests.conformance import tensors

META = torch.device("meta")
"""Tensors of it have shape and dtype alone: whatever asks for a value, or for a shape that depends on one, fails."""


def cartpole(num_envs: int) -> NativeEnv:
    env = NativeVectorEnv("gymnast.envs.native.cartpole:CartPole", num_envs, device=META, max_episode_steps=500)
    return NativeEnv(env, id="gymnast/CartPole-v1", seed=np.random.SeedSequence(0))


def forms(values: list[torch.Tensor]) -> list[tuple[torch.Size, torch.dtype, torch.device]]:
    return [(value.shape, value.dtype, value.device) for value in values]


def world_of(env: NativeVectorEnv) -> list[torch.Tensor]:
    world = env.world
    return [*tensors(world.state), world.key, world.length, world.total, world.episode, world.begun]


@pytest.mark.parametrize("id", NATIVE)
def test_no_step_reads_a_value_or_changes_a_form(id: str) -> None:
    game, limit = NATIVE[id]
    env = NativeVectorEnv(game, 6, device=META, max_episode_steps=limit)
    space = env.single_action_space
    action = torch.zeros(6, dtype=torch.int64, device=META)
    if isinstance(space, spaces.Box):
        action = torch.zeros((6, *space.shape), device=META)
    before = forms(world_of(env))
    moved = env.move(action)
    assert forms(world_of(env)) == before
    assert forms(tensors(moved.obs)) == forms(tensors(moved.next_obs)) == forms(tensors(env.observe()[0]))
    assert forms([moved.reward, moved.terminated, moved.truncated]) == [
        (torch.Size([6]), dtype, META) for dtype in (torch.float32, torch.bool, torch.bool)
    ]
    assert all(value.device == META for value in tensors(moved.obs))


def test_something_that_reads_a_value_is_found() -> None:
    with pytest.raises((RuntimeError, NotImplementedError)):
        bool(torch.zeros(3, device=META).any())
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.zeros(3, device=META)[torch.ones(3, dtype=torch.bool, device=META)]


def test_a_step_on_a_device_does_not_say_how_many_ended() -> None:
    env = cartpole(3)
    step = env.step(torch.zeros(3, dtype=torch.int64, device=META))
    assert step.num_ended is None
    assert step.num_active == 3
    ended = EndedEpisodes(10, device=META)
    ended.add(step)
    assert ended.count.dtype == torch.int64
