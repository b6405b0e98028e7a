"""The device loop gives what the plain loop gives: rollouts as one function, episodes counted on the device."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from gymnast.agents import PQN, ActorCritic, ActorCriticConfig, PQNConfig
from gymnast.envs import Step, make
from gymnast.envs.native.adapter import NativeEnv
from gymnast.envs.native.engine import TensorEngine
from gymnast.evaluation.environment import make_env
from gymnast.evaluation.play import _play, _play_on_device
from gymnast.settings import agents
from gymnast.training.episodes import WINDOW, EndedEpisodes, EpisodeStatistics
from gymnast.training.loop import Loop
from gymnast.training.rollout_loop import DeviceRollout

CONFIG = ActorCriticConfig(rollout_steps=16, epochs=2, minibatches=2, learning_rate=1e-3)


RECORDED: dict[str, ActorCriticConfig | PQNConfig] = {
    "ppo": CONFIG,
    "ppo, normalised": dataclasses.replace(CONFIG, normalise_obs=True, normalise_rewards=True),
    "a2c": dataclasses.replace(agents.default_config("a2c"), learning_rate="linear:1e-3:0:12000"),
    "pqn": PQNConfig(rollout_steps=16, minibatches=4, epsilon="linear:1:0.05:12000"),
}
"""Configs whose rollouts a GPU records."""


def parts(config: ActorCriticConfig | PQNConfig = CONFIG, *, num_envs: int = 6, **options: Any) -> Loop:
    env = make("gymnast/CartPole-v1", num_envs, seed=3, **options)
    assert isinstance(env, NativeEnv)
    env.env._engine = TensorEngine(env.env.game, num_envs, compile=False, keep_final=False)  # as a GPU steps
    kind: Any = PQN if isinstance(config, PQNConfig) else ActorCritic
    agent = kind(
        env.single_observation_space, env.single_action_space, config, num_envs=num_envs, device=env.device, seed=5
    )
    env.reset()
    return Loop(agent, agent.actor(num_envs, explore=True, seed=7), env)


def rollout_of(loop: Loop, *, held: bool) -> DeviceRollout:
    """The rollout as a function; `held` as it is recorded, on tensors that stay, but run as it is."""
    assert isinstance(loop.env, NativeEnv)
    assert isinstance(loop.agent, ActorCritic)
    loop.episodes.on_device = EndedEpisodes(WINDOW, device=loop.env.device)
    rollout = DeviceRollout(loop.agent, loop.actor, loop.env, loop.episodes.on_device, record=held)
    if held:
        rollout._play = lambda generators: rollout._steps()  # type: ignore[assignment]
    return rollout


@pytest.mark.parametrize("held", [False, True])
def test_rollouts_on_the_device_equal_the_plain_loop(held: bool) -> None:
    plain, other = parts(), parts()
    rollout = rollout_of(other, held=held)
    steps = 12 * 16 * 6
    plain.advance(steps, lambda: False)
    other._advance_by_rollouts(rollout, steps, lambda: False)
    other.episodes.read(env_step=0)
    assert plain.env_step == other.env_step == other.agent.env_step == steps
    assert plain.agent.updates == other.agent.updates == 12 * 4
    mine, theirs = plain.agent.state_dict()["network"], other.agent.state_dict()["network"]
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert plain.episodes.count > 20
    assert plain.episodes.state_dict() == other.episodes.state_dict()


def test_what_a_recording_holds_is_in_the_same_memory_after_each_call_and_after_a_restore() -> None:
    plain, other = parts(), parts()
    assert isinstance(other.env, NativeEnv)
    rollout = rollout_of(other, held=True)
    other._advance_by_rollouts(rollout, 16 * 6, lambda: False)
    places = [other.env.obs.data_ptr(), other.env.env.world.key.data_ptr(), other.env.env.world.state["x"].data_ptr()]
    plain.advance(16 * 6, lambda: False)
    other.env.restore({**other.env.snapshot(), "env": _cloned(other.env.snapshot()["env"])})
    assert other.env.env.world.key.data_ptr() != places[1]
    other._advance_by_rollouts(rollout, 2 * 16 * 6, lambda: False)
    plain.advance(2 * 16 * 6, lambda: False)
    assert places == [
        other.env.obs.data_ptr(),
        other.env.env.world.key.data_ptr(),
        other.env.env.world.state["x"].data_ptr(),
    ]
    assert torch.equal(plain.env.obs, other.env.obs)


def _cloned(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _cloned(part) for name, part in value.items()}
    return value.clone() if isinstance(value, torch.Tensor) else value


def test_a_rollout_that_is_begun_is_filled_step_by_step() -> None:
    plain, other = parts(), parts()
    rollout = rollout_of(other, held=False)
    other._advance(5 * 6, lambda: False)
    with pytest.raises(ValueError, match="holds 5 steps"):
        rollout()
    other._advance_by_rollouts(rollout, 16 * 6 + 1, lambda: False)
    plain.advance(2 * 16 * 6, lambda: False)
    assert other.env_step == 2 * 16 * 6
    mine, theirs = plain.agent.state_dict()["network"], other.agent.state_dict()["network"]
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_episodes_are_counted_on_the_device_as_on_the_host() -> None:
    rng = np.random.default_rng(0)
    host, ended = EpisodeStatistics(), EndedEpisodes(7, device=torch.device("cpu"))
    host.returns, host.lengths = (type(host.returns)(maxlen=7) for _ in range(2))
    device = EpisodeStatistics(on_device=ended)
    device.returns, device.lengths = (type(host.returns)(maxlen=7) for _ in range(2))
    for number in range(200):
        flags = torch.from_numpy(rng.random(12) < (0.9 if number % 50 == 3 else 0.05))
        step = _step(flags, torch.from_numpy(rng.random(12)), torch.from_numpy(rng.integers(1, 99, 12)))
        host.add_ended(step, env_step=0)
        ended.add(step)
        if rng.random() < 0.1:
            device.read(env_step=0)
            assert device.state_dict() == host.state_dict()
    device.read(env_step=0)
    assert host.count > 150
    assert device.state_dict() == host.state_dict()


def _step(ended: torch.Tensor, returns: torch.Tensor, lengths: torch.Tensor) -> Step:
    none = torch.zeros_like(ended)
    reward = torch.zeros(len(ended))
    return Step(reward, ended, reward, reward, ended, none, len(ended), None, None, None, None, None, returns, lengths)


@pytest.mark.parametrize("episodes", [1, 5, 13])
def test_an_evaluation_on_the_device_plays_the_same_episodes(episodes: int) -> None:
    loop = parts()
    agent = loop.agent
    results = []
    for play in (_play, _play_on_device):
        for rows in (1, 4):
            env = make_env("gymnast/CartPole-v1", rows)
            assert isinstance(env, NativeEnv)
            actor = agent.actor(rows, explore=False, seed=0)
            results.append(play(actor, env, episodes, 11, lambda: False))
    assert results[0][1] != [500] * episodes
    assert all(result == results[0] for result in results)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_rollout_learns_what_the_same_functions_learn_unrecorded(name: str) -> None:
    config = dataclasses.replace(RECORDED[name], cuda_graphs=True)
    recorded, other = (parts(config, num_envs=64, device="cuda") for _ in range(2))
    assert recorded._rollout is not None
    other._rollout = DeviceRollout(other.agent, other.actor, other.env, other.episodes.on_device, record=False)  # type: ignore[arg-type]
    for loop in (recorded, other):
        loop.advance(12 * 16 * 64, lambda: False)
    mine, theirs = recorded.agent.state_dict()["network"], other.agent.state_dict()["network"]
    assert recorded.env_step == other.env_step
    for parameter in mine:
        torch.testing.assert_close(mine[parameter], theirs[parameter])
    assert recorded.episodes.state_dict() == other.episodes.state_dict()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", RECORDED)
def test_nothing_waits_for_the_device(name: str) -> None:
    loop = parts(dataclasses.replace(RECORDED[name], cuda_graphs=True), num_envs=64, device="cuda")
    rollout = loop._rollout
    assert rollout is not None
    loop._advance_by_rollouts(rollout, 8 * 16 * 64, lambda: False)  # recorded by then
    torch.cuda.set_sync_debug_mode("error")
    try:
        loop._advance_by_rollouts(rollout, 16 * 16 * 64, lambda: False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    loop.episodes.read(env_step=0)
    assert loop.episodes.count > 0
