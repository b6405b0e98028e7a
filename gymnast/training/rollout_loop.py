"""A whole rollout on the device as one function, which a GPU records once and replays."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from gymnast.agents.base import Actor, Agent
from gymnast.agents.optim.compiled import Captured
from gymnast.envs.env import Env
from gymnast.envs.native.adapter import NativeEnv
from gymnast.envs.step import Obs
from gymnast.training.episodes import EndedEpisodes


@runtime_checkable
class RolloutAgent(Agent, Protocol):
    """An agent that learns from rollouts of a fixed length, and stores without the host's help."""

    @property
    def steps_left(self) -> int:
        """Steps of every row until the rollout is full."""
        ...

    def stored(self, env_step: int) -> None:
        """A recording has filled the rollout up to this env step: set what the host counts of it."""
        ...


class DeviceRollout:
    """Acts, steps and stores until the rollout is full: the loop's own functions, with nothing read on the host.

    With `record` they are recorded as one CUDA graph; without, they run as they are, with the same results.
    """

    def __init__(
        self, agent: RolloutAgent, actor: Actor, env: NativeEnv, ended: EndedEpisodes, *, record: bool
    ) -> None:
        self.agent, self.actor, self.env, self.ended = agent, actor, env, ended
        self.steps = agent.steps_left
        self._play = Captured(self._steps) if record else None
        self._kept: list[Tensor] | None = None

    def __call__(self) -> int:
        """Fill an empty rollout; the transitions that were taken."""
        if self.agent.steps_left != self.steps:
            raise ValueError(f"the rollout holds {self.steps - self.agent.steps_left} steps; it must be empty")
        taken = self.steps * self.env.num_envs
        until = self.agent.env_step + taken
        if self._play is None:
            self._steps()
        else:
            self._hold()
            self._play((self.actor.generator,))  # type: ignore[attr-defined]
            self.agent.stored(until)
        return taken

    def _steps(self) -> None:
        env, agent, act = self.env, self.agent, self.actor.act
        obs, start, mask = env.obs, env.start, env.action_mask
        for _ in range(self.steps):
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
        """Let the environment be where the recording finds it: in tensors that stay where they are."""
        if self._kept is None:
            self._kept = [value.clone() for value in _tensors(self.env.state())]
        else:
            for place, value in zip(self._kept, _tensors(self.env.state()), strict=True):
                if place is not value:  # it was restored, or reset
                    place.copy_(value)
        self.env.set_state(_like(self.env.state(), iter(self._kept)))


def rollout_of(agent: Agent, actor: Actor, env: Env, ended: EndedEpisodes | None) -> DeviceRollout | None:
    """What fills an agent's rollouts in a device-native environment on a GPU, with `cuda_graphs`; None elsewhere."""
    recorded = bool(getattr(getattr(agent, "config", None), "cuda_graphs", False))
    if not recorded or ended is None or not isinstance(env, NativeEnv) or not isinstance(agent, RolloutAgent):
        return None
    return DeviceRollout(agent, actor, env, ended, record=True)


def _tensors(state: Any) -> list[Tensor]:
    """All tensors of a nesting of dicts, in order; None is no tensor."""
    if isinstance(state, dict):
        return [value for part in state.values() for value in _tensors(part)]
    return [] if state is None else [state]


def _like(state: Obs | Any, tensors: Any) -> Any:
    """The same nesting with other tensors."""
    if isinstance(state, dict):
        return {name: _like(part, tensors) for name, part in state.items()}
    return None if state is None else next(tensors)
