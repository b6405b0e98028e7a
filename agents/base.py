"""The interface of every agent, `Agent` and `Actor`, and the interfaces that only some agents have.

The loop, evaluation and checkpoints need `Agent` and `Actor` only. They check for the others with `isinstance`; an
agent that lacks one still trains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from gymnast.envs.step import GoalRewards, Obs, Step, TransitionTable

Metrics: TypeAlias = dict[str, Tensor]
"""Named 0-d tensors; reading one synchronises with the device, so only logged ones are read."""


@dataclass(slots=True)
class Acted:
    """An action, and the values that learning needs from the moment it was chosen."""

    action: Tensor
    """[N, ...], values of the action space (a `Discrete` space's `start` included), on the actor's device."""
    log_prob: Tensor | None = None
    """[N], of `raw`."""
    value: Tensor | None = None
    """[N, V], of the observation."""
    memory: Tensor | None = None
    """[N, M], before the observation."""
    next_memory: Tensor | None = None
    """[N, M], after it."""
    raw: Tensor | None = None
    """[N, ...], the action as sampled: before clipping, squashing and numbering."""
    mask: Tensor | None = None
    """bool [N, A], the allowed actions, if the agent used a mask."""


class LearningError(ValueError):
    """An agent cannot learn from its input; ends the run with a one-line message."""


class Actor(Protocol):
    """One stream of experience: the agent's weights, and its own recurrent memory, generator and exploration."""

    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        """Choose one action per row; `obs` [N, ...], `start` bool [N] says which rows begin an episode."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Generator and recurrent state that another actor of the same agent needs to continue exactly."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Agent(Protocol):
    """A learner. Built as `Agent(observation_space, action_space, config, *, num_envs, device, seed)`.

    The spaces are those of one environment. A class attribute or type hint names its config: the `config` parameter
    of `__init__` is annotated with a frozen dataclass, and the command line makes its flags from it.
    """

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    env_step: int
    """Transitions stored so far; all schedules are functions of it."""
    updates: int
    """Updates done so far."""

    def actor(self, num_envs: int, *, explore: bool, seed: int | np.random.SeedSequence) -> Actor:
        """A new stream of experience; with `explore=False` it acts greedily and repeatably."""
        ...

    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        """Store one step of N rows: fixed shapes, no host synchronisation; adds `step.num_active` to `env_step`."""
        ...

    def updates_due(self, env_step: int) -> int:
        """Number of `learn` calls due at this env step; host integers only."""
        ...

    def learn(self) -> Metrics:
        """One update."""
        ...

    def scheduled(self) -> dict[str, float]:
        """The values of all schedules at the current env step (epsilon, learning_rate, …), for logs."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue learning: tensors, numbers, strings, lists and dicts of them.

        Of all checkpoints only the last one holds the key "replay"; a state without it loads too.
        """
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state of an equally configured agent; raises ValueError if it does not match."""
        ...


@runtime_checkable
class Planner(Protocol):
    """An agent that plans on the environment's known transition table, and takes no env step in training."""

    def plan(self, table: TransitionTable) -> Iterator[dict[str, float]]:
        """Plan; one item per sweep, with the numbers to log."""
        ...


@runtime_checkable
class ActionValueTable(Protocol):
    """An agent with a table of action values."""

    def q_table(self) -> np.ndarray:
        """Q, float64 [S, A] ([horizon, S, A] under a finite horizon, the first step first)."""
        ...


@runtime_checkable
class StateValueTable(Protocol):
    """An agent with a table of state values."""

    def value_table(self) -> np.ndarray:
        """V, float64 [S] ([horizon, S] under a finite horizon, the first step first)."""
        ...


@runtime_checkable
class VisitCounts(Protocol):
    """An agent that counts its training actions."""

    counts: np.ndarray
    """int64 [S, A], how often each action was taken in each state."""


@runtime_checkable
class EpsilonGreedyAgent(Protocol):
    """An agent whose evaluations can take occasional random actions, as Atari protocols require."""

    def epsilon_greedy(self, num_envs: int, *, epsilon: float, seed: int | np.random.SeedSequence) -> Actor:
        """`actor` with `explore=False`, except that it takes a random action with probability epsilon."""
        ...


@dataclass(slots=True)
class Decision:
    """What an agent's network makes of N observations, differentiable in them."""

    preference: Tensor
    """[N, P], a number for each choice of the action: action values or logits; for a Box the mean of each number."""
    value: Tensor | None
    """[N], the value of the state; None if the agent has not learned one."""
    features: Tensor
    """[N, F], what the last layers, the heads, read."""
    memory: Tensor | None = None
    """[N, M], after the observations, of a recurrent agent."""


@runtime_checkable
class DecidingAgent(Protocol):
    """An agent whose network can be asked for its decision, and the decision be differentiated by the observation."""

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    device: torch.device

    @property
    def decision_network(self) -> nn.Module:
        """The network that decides."""
        ...

    @property
    def decision_memory(self) -> int:
        """M, the numbers remembered per row; 0 without memory."""
        ...

    @property
    def preferences(self) -> str:
        """What a preference is, in words."""
        ...

    def decide(self, obs: Obs, memory: Tensor | None = None, action_mask: Tensor | None = None) -> Decision:
        """The decision for observations [N, ...], which may be float32 for any dtype of the space.

        In place of a Discrete or MultiDiscrete part there may be float32 [N, n], a number for each alternative.
        `memory` [N, M] is that before the observations, by default empty. Forbidden choices have a preference of -1e8
        if the agent uses masks (bool [N, P]). Exploration has no part in it, and noisy layers use their means.
        """
        ...


@runtime_checkable
class SteppedDecision(Protocol):
    """A `DecidingAgent` whose decision goes through discrete numbers, and so moves in steps with the observation.

    Gradients pass straight through these numbers: they are estimates, not the slope of the decision.
    """

    discrete: str
    """The numbers, in words."""


class Replay(Protocol):
    """A replay memory, for callers that need only its size."""

    @property
    def nbytes(self) -> int:
        """Bytes when full."""
        ...


@runtime_checkable
class ReplayAgent(Protocol):
    """An agent with a replay memory."""

    device: torch.device

    @property
    def replay(self) -> Replay | None:
        """None until training begins: an agent that only acts does not need it."""
        ...


@runtime_checkable
class CuttableAgent(Protocol):
    """An agent that keeps steps of the episodes in progress until it learns from them.

    Replays do not need this: they compare the observation that is acted on with the one that they expect.
    """

    def cut_off(self, rows: Sequence[int]) -> None:
        """End the episodes of these rows as if truncated: new ones begin in the next step.

        Pending steps bootstrap from the last stored observation; without one they are dropped.
        """
        ...


@runtime_checkable
class GoalAgent(Protocol):
    """An agent that can learn of goals other than the desired one, by the environment's own rewards for them."""

    @property
    def needs_goal_rewards(self) -> bool:
        """Whether it does, as configured; it cannot train without them then."""
        ...

    def set_goal_rewards(self, rewards: GoalRewards) -> None:
        """Take the rewards: before the first actor that explores, and those of an environment that replaces another."""
        ...


@dataclass(slots=True)
class Imagined:
    """One imagined step of N rows."""

    state: Tensor
    """[N, M], the model's state after the step."""
    obs: Obs
    """[N, ...], as the environment would return it: its dtype and range."""
    reward: Tensor
    """float32 [N]."""
    terminated: Tensor
    """bool [N]."""


@runtime_checkable
class WorldModel(Protocol):
    """An agent with a learned model of its environment, in which agents can act."""

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    device: torch.device

    def dream_start(self, num: int, generator: torch.Generator) -> tuple[Tensor, Obs]:
        """State [N, M] and first observation [N, ...] of `num` new imagined episodes."""
        ...

    def dream_step(
        self, state: Tensor, action: Tensor, generator: torch.Generator, *, temperature: float = 1.0
    ) -> Imagined:
        """One step; `action` [N, ...] are values of the action space.

        `temperature` scales the model's randomness (1: as learned, 0: its most likely outcome).
        """
        ...

    def dream_after(self, obs: Obs, action: Tensor, start: Tensor) -> Tensor:
        """State [N, M] after watching real steps.

        `obs` [N, T, ...], the actions before them [N, T, ...], `start` bool [N, T].
        """
        ...


class HostAgent:
    """Base class of agents that run on the CPU unless the user names a device: a GPU would not speed them up."""


@runtime_checkable
class ConfiguredAgent(Protocol):
    """An agent that keeps its config."""

    @property
    def config(self) -> Any: ...


@runtime_checkable
class DiscountedConfig(Protocol):
    """A config with a discount."""

    @property
    def gamma(self) -> float: ...


@runtime_checkable
class CompiledConfig(Protocol):
    """A config that can have the agent's functions compiled, and with them those of a device-native environment."""

    @property
    def compile(self) -> bool: ...


@runtime_checkable
class CudaGraphsConfig(Protocol):
    """A config that says whether to record updates, and rollouts in device-native environments, as CUDA graphs."""

    @property
    def cuda_graphs(self) -> bool: ...


@runtime_checkable
class AsynchronousConfig(Protocol):
    """A config with the number of processes that train on shared weights; 0 trains in this process."""

    @property
    def workers(self) -> int: ...


def seed_sequence(seed: int | np.random.SeedSequence) -> np.random.SeedSequence:
    """The seed as a sequence that streams can be spawned from."""
    return seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)


def torch_seed(seed: np.random.SeedSequence) -> int:
    """The seed of a `torch.Generator`."""
    return int(seed.generate_state(1, np.uint64)[0] >> np.uint64(1))


def restore_generator(generator: torch.Generator, state: Tensor) -> None:
    """Restore a generator's state; a generator on another kind of device, whose state differs, keeps its own."""
    if len(state) == len(generator.get_state()):
        generator.set_state(state.cpu())
