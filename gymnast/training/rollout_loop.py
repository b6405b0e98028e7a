"""A whole rollout on the device as one function, which a GPU records once and replays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from gymnast.agents.base import Actor, Agent, CudaGraphsConfig
from gymnast.agents.optim.compiled import Captured
from gymnast.envs.env import Env
from gymnast.envs.native.adapter import NativeEnv
from gymnast.envs.step import Obs
from gymnast.replay.rollout import Rollout
from gymnast.training.episodes import EndedEpisodes


@runtime_checkable
class RolloutAgent(Agent, Protocol):
    """An agent that learns from rollouts of a fixed length, and stores without the host."""

    rollout: Rollout

    @property
    def config(self) -> CudaGraphsConfig: ...


@runtime_checkable
class RolloutActor(Actor, Protocol):
    """An actor that acts without the host."""

    @property
    def generators(self) -> Sequence[torch.Generator]:
        """All generators that it draws from; a recording must know them."""
        ...


class DeviceRollout:
    """Acts, steps and stores until the rollout is full: the loop's own functions, with nothing read on the host.

    With `record` they are recorded as one CUDA graph; without, they run eagerly, with the same results.
    """

    def __init__(
        self, agent: RolloutAgent, actor: RolloutActor, env: NativeEnv, ended: EndedEpisodes, *, record: bool
    ) -> None:
        self.agent, self.actor, self.env, self.ended = agent, actor, env, ended
        self.rollout = agent.rollout
        self._play = Captured(self._steps) if record else None
        self._kept: list[Tensor] | None = None

    def __call__(self) -> int:
        """Fill an empty rollout; returns the number of transitions taken."""
        rollout = self.rollout
        if rollout.length:
            raise ValueError(f"the rollout holds {rollout.length} steps; it must be empty")
        taken = rollout.steps * self.env.num_envs
        until = self.agent.env_step + taken
        if self._play is None:
            self._steps()
        else:
            self._hold()
            self._play(self.actor.generators)
            rollout.filled()
            self.agent.env_step = until
        return taken

    def ended_episodes(self) -> tuple[list[float], list[int]]:
        """None that the host knows: the device counts them (`ended`)."""
        return [], []

    def _steps(self) -> None:
        env, agent, act = self.env, self.agent, self.actor.act
        obs, start, mask = env.obs, env.start, env.action_mask
        for _ in range(self.rollout.steps):
            acted = act(obs, start, mask)
            step = env.step(acted.action)
            agent.store(obs, acted, step)
            self.ended.add(step)
            obs, start, mask = step.obs, step.start, step.action_mask
        if self._kept is not None:
            for place, value in zip(self._kept, _tensors(env.state()), strict=True):
                place.copy_(value)
            env.set_state(_like(env.state(), iter(self._kept)))

    def _hold(self) -> None:
        """Copy the environment's state to where the recording reads it: tensors that stay in place."""
        if self._kept is None:
            self._kept = [value.clone() for value in _tensors(self.env.state())]
        else:
            for place, value in zip(self._kept, _tensors(self.env.state()), strict=True):
                if place is not value:  # it was restored, or reset
                    place.copy_(value)
        self.env.set_state(_like(self.env.state(), iter(self._kept)))


def rollout_of(agent: Agent, actor: Actor, env: Env, ended: EndedEpisodes | None) -> DeviceRollout | None:
    """Builds the loop that fills rollouts in a device-native environment on a GPU with `cuda_graphs`; else None."""
    if ended is None or not isinstance(env, NativeEnv):
        return None
    if not (isinstance(agent, RolloutAgent) and agent.config.cuda_graphs and isinstance(actor, RolloutActor)):
        return None
    return DeviceRollout(agent, actor, env, ended, record=True)


def _tensors(state: Any) -> list[Tensor]:
    """All tensors of nested dicts, in order; None is skipped."""
    if isinstance(state, dict):
        return [value for part in state.values() for value in _tensors(part)]
    return [] if state is None else [state]


def _like(state: Obs | Any, tensors: Any) -> Any:
    """The same nested dicts with other tensors."""
    if isinstance(state, dict):
        return {name: _like(part, tensors) for name, part in state.items()}
    return None if state is None else next(tensors)
