"""What every `Env` of gymnast and every vector environment of its own promises, checked by stepping at random."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
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


def check_vector_env(env: gym.vector.VectorEnv[Any, Any, Any], *, steps: int = 60, seed: int = 0) -> None:
    """Assert Gymnasium's promises of a SAME_STEP vector environment that gives tensors; closes it."""
    assert isinstance(env, gym.vector.VectorEnv)
    assert env.observation_space == batch_space(env.single_observation_space, env.num_envs)
    assert env.action_space == batch_space(env.single_action_space, env.num_envs)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    first, actions = _vector_run(env, steps, seed=seed, rng=np.random.default_rng(seed))
    again, _ = _vector_run(env, steps, seed=seed, given=actions)
    assert _same_runs(first, again), "a seed gave another run"
    env.reset(seed=seed)
    others, _ = env.reset()
    assert _in_space(env.observation_space, others)
    _check_reset_mask(env, first, actions, seed)
    pictures = env.render()
    assert pictures is None if env.render_mode is None else len(pictures) == env.num_envs  # type: ignore[arg-type]
    env.close()


def _vector_run(
    env: gym.vector.VectorEnv[Any, Any, Any],
    steps: int,
    *,
    seed: int,
    rng: np.random.Generator | None = None,
    given: list[Tensor] | None = None,
) -> tuple[list[tuple[Any, ...]], list[Tensor]]:
    """What each step gave, the reset first, and the actions: those given, or random ones that are allowed."""
    obs, infos = env.reset(seed=seed)
    assert _in_space(env.observation_space, obs)
    gave, actions = [(obs,)], []
    for index in range(steps):
        if given is not None:
            action = given[index]
        else:
            assert rng is not None
            action = _allowed_actions(env, infos.get("action_mask"), rng)
        actions.append(action)
        obs, reward, terminated, truncated, infos = env.step(action)
        _check_vector_step(env, obs, reward, terminated, truncated, infos)
        gave.append((obs, reward, terminated, truncated, infos["final_obs"]))
    return gave, actions


def _allowed_actions(env: gym.vector.VectorEnv[Any, Any, Any], mask: Tensor | None, rng: np.random.Generator) -> Tensor:
    if mask is None:
        return random_actions(env.single_action_space, env.num_envs, rng)
    assert mask.shape == (env.num_envs, int(env.single_action_space.n))  # type: ignore[attr-defined]
    assert mask.dtype == torch.bool
    assert bool(mask.any(1).all())
    return torch.from_numpy(np.array([rng.choice(row.nonzero()[0]) for row in mask.cpu().numpy()]))


def _check_vector_step(
    env: gym.vector.VectorEnv[Any, Any, Any],
    obs: Obs,
    reward: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    infos: dict[str, Any],
) -> None:
    final, ended = infos["final_obs"], infos["_final_obs"]
    for batch in (obs, final):
        assert _in_space(env.observation_space, batch)
    for flags in (terminated, truncated, ended):
        assert (flags.shape, flags.dtype) == ((env.num_envs,), torch.bool)
    assert (reward.shape, reward.dtype) == ((env.num_envs,), torch.float32)
    assert bool(reward.isfinite().all())
    assert len({part.device for part in (*tensors(obs), *tensors(final), reward, terminated, truncated, ended)}) == 1
    assert torch.equal(ended, terminated | truncated)
    assert same(map_obs(lambda part: part[~ended], final), map_obs(lambda part: part[~ended], obs))


def _in_space(space: gym.Space[Any], batch: Obs) -> bool:
    """Of the space's shape, range and dtype itself, not one that can be cast to it."""
    if isinstance(batch, dict):  # a Tuple's keys are "0", "1", ...
        parts = space.spaces if isinstance(space, gym.spaces.Dict) else dict(enumerate(space.spaces))  # type: ignore[attr-defined]
        return len(parts) == len(batch) and all(_in_space(part, batch[str(key)]) for key, part in parts.items())
    array = batch.cpu().numpy()
    return array.dtype == space.dtype and space.contains(array)


def _check_reset_mask(
    env: gym.vector.VectorEnv[Any, Any, Any], first: list[tuple[Any, ...]], actions: list[Tensor], seed: int
) -> None:
    """A masked reset begins the rows it names anew, and the others go on as if it had not been."""
    obs, _ = env.reset(seed=seed)
    mask = torch.arange(env.num_envs, device=tensors(obs)[0].device) % 2 == 0
    for index, action in enumerate(actions):
        if index == len(actions) // 2:
            obs, _ = env.reset(options={"reset_mask": mask})
            assert _in_space(env.observation_space, obs)
        obs, reward, terminated, truncated, infos = env.step(action)
        together = zip((obs, reward, terminated, truncated, infos["final_obs"]), first[index + 1], strict=True)
        for one, other in together:
            assert same(map_obs(lambda part: part[~mask], one), map_obs(lambda part: part[~mask], other))
    every, _ = env.reset(options={"reset_mask": torch.ones_like(mask)})
    assert _in_space(env.observation_space, every)


def _same_runs(left: list[tuple[Any, ...]], right: list[tuple[Any, ...]]) -> bool:
    return all(
        same(one, other)
        for ours, theirs in zip(left, right, strict=True)
        for one, other in zip(ours, theirs, strict=True)
    )
