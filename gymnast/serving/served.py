"""What is served: a policy of any origin, and the trained agent of a run or checkpoint as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch

from gymnast.agents.base import Agent, DecidingAgent
from gymnast.agents.given import as_batch, as_given
from gymnast.agents.prediction import ExportableAgent, GreedyPolicy, Predictor
from gymnast.envs.env import Env
from gymnast.envs.step import batched, masks
from gymnast.errors import UsageError, first_line
from gymnast.evaluation import trained
from gymnast.export.contract import about_of
from gymnast.export.policy import ExportedPolicy, is_exported
from gymnast.networks.layers.recurrent import reset
from gymnast.storage import checkpoint, rebuild
from gymnast.storage.checkpoint import About
from gymnast.storage.near import near


class Served(Protocol):
    """One stream of actions of a policy, with the memory of its episodes if the policy has one."""

    @property
    def observation_space(self) -> gym.Space[Any]: ...

    @property
    def action_space(self) -> gym.Space[Any]: ...

    def predict(self, obs: Any, *, start: Any = None, action_mask: Any = None) -> Any:
        """Actions [N, ...] for a batch of observations [N, ...]; `start` says which of them begin an episode."""
        ...


class Stepper(Protocol):
    """The greedy actions of a policy with a memory that the caller keeps, so that episodes of many can be stacked."""

    memory_size: int
    """M, the numbers remembered per row."""

    def step(self, obs: Any, memory: np.ndarray, start: np.ndarray, mask: np.ndarray | None) -> tuple[Any, np.ndarray]:
        """Actions [N, ...] for observations [N, ...] after the memory float32 [N, M], and the memory after them.

        Where `start`, bool [N], an episode begins, and the memory is not used.
        """
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
    stepper: Stepper | None = None
    """Of a policy that remembers, if its memory can be kept by others."""
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


class AgentStepper:
    """An agent's greedy policy, step by step."""

    def __init__(self, agent: Any, greedy: GreedyPolicy, device: torch.device) -> None:
        self.agent, self.greedy, self.device, self.memory_size = agent, greedy.eval(), device, greedy.memory_size

    @torch.no_grad()
    def step(self, obs: Any, memory: np.ndarray, start: np.ndarray, mask: np.ndarray | None) -> tuple[Any, np.ndarray]:
        """See `Stepper`."""
        space = self.agent.action_space
        allowed = None if mask is None else masks(space, mask, len(start), self.device)
        batch = as_batch(obs, self.agent.observation_space, self.device, single=False, of="predict")
        before = reset(torch.from_numpy(memory).to(self.device), torch.from_numpy(start).to(self.device))
        action, _, after = self.greedy(batch, before, allowed)
        return as_given(action, space, single=False), after.cpu().numpy()


def stepper_of(agent: Agent) -> AgentStepper | None:
    """The stepper of an agent whose memory is a part of its greedy policy; None for others."""
    if not isinstance(agent, ExportableAgent):
        return None
    try:
        greedy = agent.greedy_policy()
    except ValueError:
        return None
    device = getattr(agent, "device", torch.device("cpu"))
    return AgentStepper(agent, greedy, device) if greedy.memory_size else None


class ExportedStepper:
    """An exported policy, step by step."""

    def __init__(self, exported: ExportedPolicy) -> None:
        self.exported, self.memory_size = exported, exported.memory_size

    def step(self, obs: Any, memory: np.ndarray, start: np.ndarray, mask: np.ndarray | None) -> tuple[Any, np.ndarray]:
        """See `Stepper`."""
        actor = self.exported.actor(len(start))
        actor.memory = memory
        space = self.exported.observation_space
        action = actor.choose(as_batch(obs, space, self.exported.device, single=False, of="predict"), start, mask)
        return as_given(torch.from_numpy(action), self.exported.action_space, single=False), actor.memory


def _leaves(values: Any) -> Any:
    """The arrays of an observation."""
    if isinstance(values, dict | tuple):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _leaves(value)
    else:
        yield values


def read_policy(path: str, *, device: str, trust: bool) -> Policy:
    """The policy of a run's best checkpoint, a checkpoint file or an exported folder, also at a URL.

    Raises UsageError in one line.
    """
    with near(path) as copy:
        return replace(_read(copy.path, device=device, trust=trust), path=path)


def _read(path: str, *, device: str, trust: bool) -> Policy:
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
        stepper=ExportedStepper(exported) if exported.memory_size and not exported.draws else None,
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
        stepper=stepper_of(agent) if remembers else None,
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
