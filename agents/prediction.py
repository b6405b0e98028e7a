"""`predict`: from Gymnasium's observations to actions for `env.step`, the same for every agent."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents.base import Actor, Agent
from gymnast.envs.step import Obs, batched, children, masks

SEED = 0
"""Seed of the draws with `deterministic=False`."""


class Predictor:
    """Acts in environments that the caller steps, and keeps the recurrent state of their episodes if the agent has one.

    `agent.predict` uses one that the agent keeps; create more to play several streams of episodes in parallel.
    """

    def __init__(self, agent: Agent, *, seed: int | np.random.SeedSequence = SEED) -> None:
        self.agent, self.seed = agent, seed
        self.device = agent.device if isinstance(agent, _OnDevice) else torch.device("cpu")
        self._actor: Actor | None = None
        self._rows = 0
        self._deterministic = True

    def predict(self, obs: Any, *, deterministic: bool = True, start: Any = None, action_mask: Any = None) -> Any:
        """The agent's action for an observation, or its actions for a batch of them.

        Args:
            obs: one observation of the agent's space, as NumPy or Python values, or a batch with a leading axis N: of
                a `Box` (4,) an array (4,) is one and (8, 4) are eight. Each part of a Dict or Tuple has that axis.
            deterministic: the greedy action; otherwise one drawn as in training.
            start: whether the observation begins an episode, for recurrent agents: a bool, or one per row. By
                default the first call does, and whenever N changes; later calls continue.
            action_mask: the allowed actions, as in `info["action_mask"]`: [A], or [N, A] for a batch.

        Returns:
            The argument of `env.step`: an int for Discrete, else an array of the action space's shape and dtype; for a
            batch an array with the leading axis N.

        Raises:
            ValueError: an observation or a mask does not match its space.
        """
        agent = self.agent
        rows = _rows(obs, agent.observation_space)
        count = 1 if rows is None else rows
        actor, new = self._actor_of(count, deterministic)
        starts = torch.full((count,), new)
        if start is not None:
            if np.shape(start) not in ((), (count,)):
                raise ValueError(f"predict was given start of shape {np.shape(start)} for {count} observations")
            starts = starts | torch.from_numpy(np.broadcast_to(np.asarray(start, np.bool_), (count,)).copy())
        with torch.no_grad():
            mask = None if action_mask is None else self._masks(action_mask, count)
            acted = actor.act(self._observed(obs, rows), starts.to(self.device), mask)
        return _given(acted.action, agent.action_space, single=rows is None)

    def _actor_of(self, rows: int, deterministic: bool) -> tuple[Actor, bool]:
        """The actor for this number of rows, and whether it is new."""
        before, kept = self._actor, rows == self._rows
        if before is None or not kept or deterministic != self._deterministic:
            actor = _actor(self.agent, rows, deterministic=deterministic, seed=self.seed)
            if before is not None and kept:  # the same episodes, with their recurrent state
                actor.load_state_dict(before.state_dict())
            self._actor, self._rows, self._deterministic = actor, rows, deterministic
            return actor, before is None or not kept
        return before, False

    def _observed(self, obs: Any, rows: int | None) -> Obs:
        space = self.agent.observation_space
        try:
            return batched(space, _arrays(obs, space, single=rows is None), self.device)
        except ValueError as error:
            raise ValueError(_as_argument(error)) from None

    def _masks(self, action_mask: Any, rows: int) -> Tensor:
        try:
            return masks(self.agent.action_space, action_mask, rows, self.device)
        except ValueError as error:
            raise ValueError(_as_argument(error)) from None


class Predicts:
    """Gives an agent `predict`."""

    _predictor: Predictor | None = None

    def predict(
        self: Agent, obs: Any, *, deterministic: bool = True, start: Any = None, action_mask: Any = None
    ) -> Any:
        """The action for a plain observation, or the actions for a batch; see `Predictor.predict`."""
        return predict(self, obs, deterministic=deterministic, start=start, action_mask=action_mask)

    def predicting_actor(
        self: Agent, num_envs: int, *, deterministic: bool, seed: int | np.random.SeedSequence
    ) -> Actor:
        """An actor for `predict`, which learning does not use."""
        return self.actor(num_envs, explore=not deterministic, seed=seed)


def predict(agent: Agent, obs: Any, *, deterministic: bool = True, start: Any = None, action_mask: Any = None) -> Any:
    """`agent.predict(obs)` for every agent, your own included; see `Predictor.predict`."""
    own: Any = agent
    if getattr(own, "_predictor", None) is None:
        own._predictor = Predictor(agent)
    return own._predictor.predict(obs, deterministic=deterministic, start=start, action_mask=action_mask)


def _actor(agent: Agent, rows: int, *, deterministic: bool, seed: int | np.random.SeedSequence) -> Actor:
    if isinstance(agent, _PredictingAgent):
        return agent.predicting_actor(rows, deterministic=deterministic, seed=seed)
    return agent.actor(rows, explore=not deterministic, seed=seed)


@runtime_checkable
class _PredictingAgent(Protocol):
    def predicting_actor(self, num_envs: int, *, deterministic: bool, seed: int | np.random.SeedSequence) -> Actor: ...


@runtime_checkable
class _OnDevice(Protocol):
    device: torch.device


def _rows(obs: Any, space: gym.Space[Any]) -> int | None:
    """N of a batch [N, ...] of observations, None for a single one; ValueError if it is neither."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        found = {_rows(_part(obs, name, key), part) for name, key, part in children(space)}
        if len(found) != 1:
            raise ValueError("predict was given an observation whose parts have different numbers of rows")
        return found.pop()
    single = space.shape or ()
    try:
        shape = tuple(np.shape(obs))
    except ValueError:  # parts of unequal lengths
        raise ValueError("predict was given an observation that is not an array of numbers") from None
    if shape == single:
        return None
    if shape[1:] == single and len(shape) == len(single) + 1 and shape[0] > 0:
        return int(shape[0])
    many = ", ".join(["N", *map(str, single)])
    raise ValueError(
        f"predict was given an observation of shape {shape} but its space says {single}, or ({many}) for a batch"
    )


def _arrays(obs: Any, space: gym.Space[Any], *, single: bool) -> Any:
    """The observation as arrays [N, ...], a dict for a Dict or Tuple, by the keys of the space."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return {key: _arrays(_part(obs, name, key), part, single=single) for name, key, part in children(space)}
    array = obs.detach().cpu().numpy() if isinstance(obs, Tensor) else np.asarray(obs)
    return array[None] if single else array


def _part(obs: Any, name: str, key: Any) -> Any:
    """A part of a Dict's or Tuple's observation, also if it is already an `Obs`."""
    for known in (key, name):
        try:
            return obs[known]
        except (KeyError, IndexError, TypeError):
            continue
    raise ValueError(f"predict was given an observation without the part {key!r} of its space")


def _given(action: Tensor, space: gym.Space[Any], *, single: bool) -> Any:
    """Actions [N, ...] in the form that an environment takes."""
    array = action.detach().cpu().numpy().astype(space.dtype)  # a copy: the actor may reuse the tensor
    if not single:
        return array
    return int(array[0]) if isinstance(space, spaces.Discrete) else array[0]


def _as_argument(error: ValueError) -> str:
    """A problem with an environment's value, reworded for an argument."""
    return f"predict {str(error).replace('gave', 'was given', 1)}"
