"""What every `Env` of gymnast promises, checked by stepping it at random."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.envs.env import Env
from gymnast.envs.step import Obs, Step, map_obs


def random_actions(space: gym.Space[Any], num_envs: int, rng: np.random.Generator) -> Tensor:
    """A batch of actions of a space, [N, ...]."""
    space.seed(int(rng.integers(2**31)))
    return torch.from_numpy(np.array([space.sample() for _ in range(num_envs)]))


def tensors(obs: Obs) -> list[Tensor]:
    return [part for value in obs.values() for part in tensors(value)] if isinstance(obs, dict) else [obs]


def same(left: Obs, right: Obs) -> bool:
    return all(torch.equal(one, other) for one, other in zip(tensors(left), tensors(right), strict=True))


def fields(step: Step) -> dict[str, Any]:
    return {name: getattr(step, name) for name in Step.__slots__}


def check_env(env: Env, *, steps: int = 100, seed: int = 0) -> None:
    """Assert the promises of `envs/env.py` and `envs/step.py`; closes the environment."""
    rng = np.random.default_rng(seed)
    obs = env.reset()
    assert obs is env.obs
    assert bool(env.start.all())
    if not env.seeds_episodes:
        try:
            env.reset(episode_seeds=[0])
        except ValueError:
            pass
        else:
            raise AssertionError("episode_seeds were accepted and ignored")
        obs = env.reset()
    returns, lengths = [0.0] * env.num_envs, [0] * env.num_envs
    kept: list[tuple[Step, dict[str, Any]]] = []
    for _ in range(steps):
        step = env.step(random_actions(env.single_action_space, env.num_envs, rng).to(env.device))
        _check_step(env, step)
        _check_statistics(step, returns, lengths)
        kept.append((step, {name: _copy(value) for name, value in fields(step).items()}))
    for step, copies in kept:
        for name, value in fields(step).items():
            assert _equal(value, copies[name]), f"{name} was written again after it was handed out"
    if env.exact_resume:
        _check_resume(env, seed)
    env.close()
    env.close()


def _check_step(env: Env, step: Step) -> None:
    rows = (env.num_envs,)
    for part in tensors(step.obs) + tensors(step.next_obs):
        assert part.shape[0] == env.num_envs
        assert part.device == env.device
        assert part.dtype != torch.float64
    for flags in (step.start, step.terminated, step.truncated):
        assert flags.shape == rows
        assert flags.dtype == torch.bool
    assert step.reward.shape == rows
    assert step.reward.dtype == torch.float32
    assert step.obs is env.obs
    assert step.start is env.start
    ended = step.ended
    active = torch.ones_like(ended) if step.active is None else step.active
    assert step.num_active == int(active.sum())
    assert step.num_ended == int(ended.sum())
    assert not (ended & ~active).any()
    calm = (~ended).nonzero().flatten()
    assert same(map_obs(lambda part: part[calm], step.obs), map_obs(lambda part: part[calm], step.next_obs))
    if step.action_mask is not None:
        assert step.next_action_mask is not None
        assert step.action_mask.shape == (env.num_envs, int(env.single_action_space.n))  # type: ignore[attr-defined]


def _check_statistics(step: Step, returns: list[float], lengths: list[int]) -> None:
    for row in range(len(returns)):
        if step.active is not None and not step.active[row]:
            assert float(step.reward[row]) == 0.0
            continue
        returns[row] += float(step.reward[row])
        lengths[row] += 1
        if step.ended[row]:
            assert step.episode_return is not None
            assert step.episode_length is not None
            assert int(step.episode_length[row]) == lengths[row]
            np.testing.assert_allclose(float(step.episode_return[row]), returns[row], rtol=1e-4, atol=1e-4)
            returns[row], lengths[row] = 0.0, 0


def _check_resume(env: Env, seed: int) -> None:
    snapshot = env.snapshot()
    futures = []
    for _ in range(2):
        rng = np.random.default_rng(seed + 1)
        env.restore(snapshot)
        actions = [random_actions(env.single_action_space, env.num_envs, rng) for _ in range(30)]
        futures.append(
            [{n: _copy(v) for n, v in fields(env.step(action.to(env.device))).items()} for action in actions]
        )
    for one, other in zip(*futures, strict=True):
        assert all(_equal(one[name], other[name]) for name in one)


def _copy(value: Any) -> Any:
    return map_obs(torch.clone, value) if isinstance(value, (dict, Tensor)) else value


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, (dict, Tensor)) and isinstance(right, (dict, Tensor)):
        return same(left, right)
    return bool(left == right)
