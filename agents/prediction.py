"""`predict`: from Gymnasium's observations to actions for `env.step`, the same for every agent."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from gymnast.agents.base import Actor, Agent
from gymnast.agents.given import as_argument, as_batch, as_given, rows_of
from gymnast.envs.step import Obs, masks

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
        rows = rows_of(obs, agent.observation_space, of="predict")
        count = 1 if rows is None else rows
        actor, new = self._actor_of(count, deterministic)
        starts = torch.full((count,), new)
        if start is not None:
            if np.shape(start) not in ((), (count,)):
                raise ValueError(f"predict was given start of shape {np.shape(start)} for {count} observations")
            starts = starts | torch.from_numpy(np.broadcast_to(np.asarray(start, np.bool_), (count,)).copy())
        with torch.no_grad():
            mask = None if action_mask is None else self._masks(action_mask, count)
            batch = as_batch(obs, agent.observation_space, self.device, single=rows is None, of="predict")
            acted = actor.act(batch, starts.to(self.device), mask)
        return as_given(acted.action, agent.action_space, single=rows is None)

    def _actor_of(self, rows: int, deterministic: bool) -> tuple[Actor, bool]:
        """The actor for this number of rows, and whether it is new."""
        before, kept = self._actor, rows == self._rows
        if before is None or not kept or deterministic != self._deterministic:
            actor = predicting_actor(self.agent, rows, deterministic=deterministic, seed=self.seed)
            if before is not None and kept:  # the same episodes, with their recurrent state
                actor.load_state_dict(before.state_dict())
            self._actor, self._rows, self._deterministic = actor, rows, deterministic
            return actor, before is None or not kept
        return before, False

    def _masks(self, action_mask: Any, rows: int) -> Tensor:
        try:
            return masks(self.agent.action_space, action_mask, rows, self.device)
        except ValueError as error:
            raise ValueError(as_argument(error, "predict")) from None


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


class GreedyPolicy(nn.Module):
    """`predict` of an agent as a function of tensors alone, so that it can be traced and exported."""

    memory_size = 0
    """M, the numbers remembered per row."""
    takes_masks = False
    """Whether an action mask has an effect."""
    draws = False
    """Whether it draws its actions, as the agent does with `deterministic=False`; `forward` then takes seeds int64 [N]
    too, as its last argument."""
    preferences = "action value"
    """What a preference is, in words."""

    def forward(
        self, obs: Obs, memory: Tensor | None, action_mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Actions, preferences and the memory after the observations [N, ...].

        `memory` [N, M] is that before them, zero where an episode begins, and `action_mask` bool [N, A]. Actions are
        values of the action space; preferences, [N, P], are the numbers that they were chosen by.
        """
        raise NotImplementedError


@runtime_checkable
class ExportableAgent(Protocol):
    """An agent whose greedy action is a function of the observation and of what it remembers."""

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    env_step: int

    def greedy_policy(self) -> GreedyPolicy:
        """The function, with the agent's weights; ValueError if the agent draws its actions in evaluations too."""
        ...


@runtime_checkable
class SamplingAgent(ExportableAgent, Protocol):
    """An agent whose policy is a distribution, from which a seed can draw."""

    def sampled_policy(self) -> GreedyPolicy:
        """The drawn action as a function, with the agent's weights; ValueError if the policy is deterministic."""
        ...


def predicting_actor(
    agent: Agent, rows: int, *, deterministic: bool = True, seed: int | np.random.SeedSequence = SEED
) -> Actor:
    """The actor behind `predict`."""
    if isinstance(agent, _PredictingAgent):
        return agent.predicting_actor(rows, deterministic=deterministic, seed=seed)
    return agent.actor(rows, explore=not deterministic, seed=seed)


@runtime_checkable
class _PredictingAgent(Protocol):
    def predicting_actor(self, num_envs: int, *, deterministic: bool, seed: int | np.random.SeedSequence) -> Actor: ...


@runtime_checkable
class _OnDevice(Protocol):
    device: torch.device
