"""For your own loop: converts results of `reset` and `step` of one Gymnasium environment to an agent's inputs.

    begun = begin_of(env, env.reset(seed=0))
    while True:
        acted = actor.act(*begun)
        stepped = env.step(acted.action[0].numpy())
        step = step_of(env, stepped, begun=env.reset() if stepped[2] or stepped[3] else None)
        agent.store(begun[0], acted, step)
        ...
        begun = step.obs, step.start, step.action_mask

`gymnast.envs.make` does more: it counts episodes, resets rows and knows every autoreset mode of vector environments.
"""

from __future__ import annotations

from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.envs.errors import EnvError
from gymnast.envs.rows import incoming
from gymnast.envs.rows.incoming import BadValue
from gymnast.envs.step import Obs, Step, batched, children, masks


class Spaces(Protocol):
    """An object with the two spaces: the environment, or the agent."""

    @property
    def observation_space(self) -> gym.Space[Any]: ...
    @property
    def action_space(self) -> gym.Space[Any]: ...


def begin_of(
    env: Spaces, begun: tuple[Any, dict[str, Any]], *, device: str = "cpu"
) -> tuple[Obs, Tensor, Tensor | None]:
    """The result of `env.reset()` for an actor: observation [1, ...], start bool [1], action mask [1, A].

    Raises:
        EnvError: an observation or a mask does not match its space.
    """
    obs, mask = _observed(env, *begun, device=torch.device(device))
    return obs, torch.ones(1, dtype=torch.bool, device=device), mask


def step_of(
    env: Spaces,
    stepped: tuple[Any, Any, Any, Any, dict[str, Any]],
    *,
    begun: tuple[Any, dict[str, Any]] | None = None,
    device: str = "cpu",
) -> Step:
    """The five values of `env.step(action)` for `agent.store`: a step of one row.

    `begun` is the result of `env.reset()` if the episode ended, else None. Masks are read from
    `info["action_mask"]`, lives from `info["lives"]`, and the episode's return and length, from which policy searches
    learn, from `info["episode"]` (Gymnasium's wrapper `RecordEpisodeStatistics`).

    Raises:
        EnvError: an invalid value: a reward that is not one number, an observation outside its space.
        ValueError: `begun` is missing after the end of an episode, or given without one.
    """
    observation, reward, terminated, truncated, info = stepped
    where = torch.device(device)
    number, *ends = _plain(reward, terminated, truncated)
    ended = any(ends)
    if ended != (begun is not None):
        wrong = "needs begun=env.reset(), as the episode ended" if ended else "takes begun only if the episode ended"
        raise ValueError(f"step_of {wrong}")
    next_obs, next_mask = _observed(env, observation, info, device=where, ended=ended)
    obs, mask = (next_obs, next_mask) if begun is None else _observed(env, *begun, device=where)
    statistics = info.get("episode") if ended else None
    return Step(
        obs=obs,
        start=torch.tensor([ended], device=where),
        next_obs=next_obs,
        reward=torch.tensor([number], dtype=torch.float32, device=where),
        terminated=torch.tensor([ends[0]], device=where),
        truncated=torch.tensor([ends[1]], device=where),
        num_active=1,
        num_ended=int(ended),
        lives=torch.tensor([int(info["lives"])], device=where) if "lives" in info else None,
        action_mask=mask,
        next_action_mask=next_mask,
        episode_return=None if statistics is None else torch.tensor([float(statistics["r"])], dtype=torch.float64),
        episode_length=None if statistics is None else torch.tensor([int(statistics["l"])]),
    )


def _plain(reward: Any, terminated: Any, truncated: Any) -> tuple[float, bool, bool]:
    try:
        ends = incoming.flag(terminated, "terminated"), incoming.flag(truncated, "truncated")
        return incoming.number(reward, "reward"), *ends
    except BadValue as error:
        raise EnvError(f"the environment {error}") from error


def _observed(
    env: Spaces, observation: Any, info: dict[str, Any], *, device: torch.device, ended: bool = False
) -> tuple[Obs, Tensor | None]:
    """An observation [1, ...], and its mask [1, A] if the info has one."""
    try:
        obs = batched(env.observation_space, _lifted(observation, env.observation_space), device)
        mask = None
        if "action_mask" in info:
            mask = masks(env.action_space, info["action_mask"], 1, device, ended=ended)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise EnvError(f"the environment {error}") from error
    return obs, mask


def _lifted(observation: Any, space: gym.Space[Any]) -> Any:
    """The observation with a leading axis of 1."""
    if isinstance(space, gym.spaces.Dict | gym.spaces.Tuple):
        return {key: _lifted(observation[key], part) for _, key, part in children(space)}
    return np.asarray(observation)[None]
