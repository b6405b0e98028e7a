"""What is served: a policy of any origin, and the trained agent of a run or checkpoint as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch

from gymnast.agents.base import Agent, DecidingAgent
from gymnast.agents.prediction import Predictor
from gymnast.envs.env import Env
from gymnast.envs.step import batched
from gymnast.errors import UsageError, first_line
from gymnast.evaluation import trained
from gymnast.export.contract import about_of
from gymnast.export.policy import ExportedPolicy, is_exported
from gymnast.storage import checkpoint, rebuild
from gymnast.storage.checkpoint import About


class Served(Protocol):
    """One stream of actions of a policy, with the memory of its episodes if the policy has one."""

    @property
    def observation_space(self) -> gym.Space[Any]: ...

    @property
    def action_space(self) -> gym.Space[Any]: ...

    def predict(self, obs: Any, *, start: Any = None, action_mask: Any = None) -> Any:
        """Actions [N, ...] for a batch of observations [N, ...]; `start` says which of them begin an episode."""
        ...


@dataclass(frozen=True)
class Policy:
    """A policy that streams are opened of."""

    kind: str
    """The agent's name."""
    path: str
    env: str
    """The id of its environment; empty if unknown."""
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    remembers: bool
    """Whether an action depends on the earlier observations of the episode."""
    draws: bool
    """Whether a stream may draw its actions."""
    stream: Callable[[bool, int], Served]
    """A new stream, deterministic or not, with a seed."""
    make_env: Callable[[], Env] | None = None
    """Its environment with one row that renders, ValueError if it cannot be made; None without one."""
    value: Callable[[Any], float | None] = lambda obs: None
    """The value of one observation [1, ...], if the policy has learned values and has no memory."""


class AgentStream:
    """An agent's actions for batches of any size, each size with draws of its own."""

    def __init__(self, agent: Agent, deterministic: bool, seed: int) -> None:
        self.agent, self.deterministic, self.seed = agent, deterministic, seed
        self.observation_space, self.action_space = agent.observation_space, agent.action_space
        self._predictors: dict[int, Predictor] = {}

    def predict(self, obs: Any, *, start: Any = None, action_mask: Any = None) -> Any:
        """See `Served`; a memory continues only from a call with as many observations."""
        rows = len(next(_leaves(obs)))
        if rows not in self._predictors:
            self._predictors[rows] = Predictor(self.agent, seed=np.random.SeedSequence([self.seed, rows]))
        predictor = self._predictors[rows]
        return predictor.predict(obs, deterministic=self.deterministic, start=start, action_mask=action_mask)


def _leaves(values: Any) -> Any:
    """The arrays of an observation."""
    if isinstance(values, dict | tuple):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _leaves(value)
    else:
        yield values


def read_policy(path: str, *, device: str, trust: bool) -> Policy:
    """The policy of a run's best checkpoint, a checkpoint file or an exported folder; UsageError in one line."""
    if is_exported(path):
        return exported_policy(ExportedPolicy(path, trust=trust), path=path, trust=trust)
    file = checkpoint.find(path)
    about, state = checkpoint.read_agent(file)
    agent = rebuild.agent_of(file, about, state, device=device, trust=trust)
    about = trained.outside(about)
    make_env = _maker(about, path, device=device, trust=trust) if about.env else None
    return policy_of(agent, kind=about.agent, path=path, env=about.env, make_env=make_env)


def _maker(about: About, path: str, *, device: str, trust: bool) -> Callable[[], Env]:
    """Makes the environment of a policy, see `Policy.make_env`."""

    def make_env() -> Env:
        try:
            trained.check_trusted(about, path, trust=trust)
            return trained.settings_of(about).make(about.env, 1, device=device, render=True)
        except (UsageError, ValueError, OSError) as error:
            raise ValueError(trained.why(error, about)) from error

    return make_env


def exported_policy(exported: ExportedPolicy, *, path: str, trust: bool) -> Policy:
    """A policy of `gymnast export`, which acts on the CPU and draws nothing."""
    about = trained.outside(about_of(exported.contract))
    return Policy(
        kind=about.agent,
        path=path,
        env=about.env,
        observation_space=exported.observation_space,
        action_space=exported.action_space,
        remembers=exported.memory_size > 0,
        draws=False,
        stream=lambda deterministic, seed: exported.stream(),
        make_env=_maker(about, path, device="cpu", trust=trust) if about.env else None,
    )


def policy_of(
    agent: Agent, *, kind: str, path: str = "", env: str = "", make_env: Callable[[], Env] | None = None
) -> Policy:
    """An agent as a policy."""
    remembers = _remembers(agent)
    deciding = agent if isinstance(agent, DecidingAgent) and not remembers else None
    return Policy(
        kind=kind,
        path=path,
        env=env,
        observation_space=agent.observation_space,
        action_space=agent.action_space,
        remembers=remembers,
        draws=True,
        stream=lambda deterministic, seed: AgentStream(agent, deterministic, seed),
        make_env=make_env,
        value=lambda obs: None if deciding is None else _value(deciding, obs),
    )


def _remembers(agent: Agent) -> bool:
    """Whether acting greedily depends on earlier observations: by a recurrent memory, or by the time in a table."""
    try:
        kept = agent.actor(1, explore=False, seed=0).state_dict()
    except (ValueError, RuntimeError, TypeError) as error:
        raise UsageError(f"the agent cannot act: {first_line(error)}") from error
    return "memory" in kept or ("clock" in kept and getattr(agent, "stages", 1) > 1)


def _value(agent: DecidingAgent, obs: Any) -> float | None:
    with torch.no_grad():
        value = agent.decide(batched(agent.observation_space, obs, agent.device)).value
    return None if value is None else float(value[0])
