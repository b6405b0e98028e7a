"""Base of all populations: M agents of one kind, their parameters as rows, one optimizer, and their own settings."""

from __future__ import annotations

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from gymnast.agents.base import Acted, Actor, Metrics, seed_sequence
from gymnast.agents.optim import optimizers
from gymnast.agents.optim.compiled import Captured
from gymnast.agents.population import optimizers as stacked_optimizers
from gymnast.agents.population.noise import MakeNoise, Noise, OwnGenerators
from gymnast.agents.population.settings import WHOLE, MemberSettings, check
from gymnast.agents.schedules import ScheduleLike
from gymnast.allocator import keep_freed_pages
from gymnast.envs.step import Obs, Step
from gymnast.networks.stacked.layers import StackedParameters

Seed = int | np.random.SeedSequence
Weights = dict[str, Tensor]


class Population(ABC):
    """M agents that learn independently in M * N rows of one environment, N rows for each in turn.

    A member learns the same as a single agent with its seed and settings in its N rows, up to rounding, given the same
    random numbers. `vary` gives settings that differ, M numbers each (see `varied`). To the loop it is one agent of
    M * N rows, whose metrics are [M].

    Raises:
        ValueError: for spaces or settings that a population does not support.
    """

    defaults: ClassVar[Any]
    """The config without one."""
    varied: ClassVar[tuple[str, ...]]
    """Settings that may differ between members."""
    network: StackedParameters
    parameters: nn.Parameter
    """[M, P]."""
    optimizer: torch.optim.Optimizer
    _captured: Captured[Metrics] | None

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: Any = None,
        *,
        seeds: Sequence[Seed],
        num_envs: int = 1,
        vary: Mapping[str, Sequence[float]] | None = None,
        device: str | torch.device = "cpu",
        noise: MakeNoise = OwnGenerators,
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.config = config = self.defaults if config is None else config
        self.members, self.num_envs, self.device = len(seeds), num_envs, torch.device(device)
        self._make_noise = noise
        check(config, vary or {}, self.varied, members=self.members, device=self.device)
        self.vary = {name: _numbers(name, values) for name, values in (vary or {}).items()}
        for member in range(self.members if self.vary else 0):
            self.config_of(member)  # checks the numbers
        self.env_step = self.updates = 0
        """Transitions of all members together; updates of each member."""
        self._settings = MemberSettings(self._variable(), self.vary, members=self.members, device=self.device)
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self.ended = torch.zeros((2, self.members), dtype=dtype, device=self.device)
        """Episodes that ended since this was last zeroed, and the sum of their returns."""
        if self.device.type == "cpu":
            keep_freed_pages()
        self._prepare([seed_sequence(seed) for seed in seeds])

    @abstractmethod
    def _prepare(self, seeds: Sequence[np.random.SeedSequence]) -> None:
        """Make the networks, the optimizer and the memory of the members, the last step of `__init__`."""

    def _variable(self) -> dict[str, ScheduleLike]:
        """The settings whose current values learning reads from tensors, and their values in the config."""
        return {name: getattr(self.config, name) for name in self.varied}

    def _build(self, rows: Sequence[Tensor], *, max_grad_value: float | None) -> None:
        """Make the parameters of all members from vectors [P], and their optimizer."""
        self._max_grad_value = max_grad_value
        self.parameters = nn.Parameter(torch.stack(list(rows)).to(self.device))
        self.optimizer = stacked_optimizers.build(
            self.config.optimizer,
            self.parameters,
            rate=self._settings.rate(0),
            eps=self.config.optimizer_eps,
            captured=self.config.cuda_graphs,
        )
        self._step = optimizers.stepper(self.optimizer)

    def config_of(self, member: int) -> Any:
        """The config of a member's single run."""
        own: dict[str, Any] = {name: values[member] for name, values in self.vary.items()}
        return dataclasses.replace(self.config, **own)

    def weights(self) -> Weights:
        """A copy of everything that acting depends on, [M, ...]: the parameters, and any statistics."""
        return {"parameters": self.parameters.detach().clone()}

    def network_state(self, weights: Weights, member: int) -> dict[str, Tensor]:
        """A member's weights, as the state of the network of its single agent."""
        parts = {**self.network.split(weights["parameters"]), **weights}
        return {name: part[member].clone() for name, part in parts.items() if name != "parameters"}

    @property
    def member_step(self) -> int:
        """Env steps of each member, the argument of all schedules."""
        return self.env_step // self.members

    @abstractmethod
    def actor(
        self,
        num_envs: int,
        *,
        explore: bool,
        seed: Seed | Sequence[Seed],
        weights: Weights | None = None,
    ) -> Actor:
        """An actor in M * N rows, N for each member; `seed` is one seed for all members or one for each.

        It acts with the learned weights, or with the given ones.
        """

    def _noise_of(self, num_envs: int, seed: Seed | Sequence[Seed]) -> Noise:
        """The random numbers of an actor."""
        return self._make_noise(self._sequences(num_envs, seed), self.device)

    def _sequences(self, num_envs: int, seed: Seed | Sequence[Seed]) -> list[np.random.SeedSequence]:
        """The seeds of an actor of each member."""
        if num_envs % self.members:
            raise ValueError(f"num_envs must be a multiple of {self.members}, the number of members, got {num_envs}")
        given = seed if isinstance(seed, Sequence) else seed_sequence(seed).spawn(self.members)
        return [seed_sequence(one) for one in given]

    @abstractmethod
    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        """Store one step of M * N rows."""

    def _count(self, step: Step) -> None:
        """Count a step's transitions, and the episodes that ended with it."""
        if step.episode_return is not None:
            ended = step.ended.view(self.members, -1)
            total = torch.where(ended, step.episode_return.view_as(ended), 0.0).sum(1)
            self.ended += torch.stack([ended.sum(1), total])
        self.env_step += step.num_active

    @abstractmethod
    def updates_due(self, env_step: int) -> int:
        """Number of `learn` calls due when all members together have taken `env_step` steps."""

    @abstractmethod
    def learn(self) -> Metrics:
        """One update of all members at once; metrics are [M]."""

    def _set_settings(self, step: int) -> None:
        """Set the scheduled settings to their values at an env step of each member."""
        self._settings.update(step)
        rate = self._settings.rate(step)
        if not isinstance(rate, Tensor):
            optimizers.set_learning_rate(self.optimizer, rate)

    def _apply(self, grad: Tensor, metrics: Metrics) -> None:
        """Clip the gradients [M, P], each by its own norm, and take a step of the optimizer."""
        if self._max_grad_value is not None:
            grad.clamp_(-self._max_grad_value, self._max_grad_value)
        if self.config.max_grad_norm is not None:
            metrics["grad_norm"] = torch.linalg.vector_norm(grad, dim=1)
            grad.renorm_(2.0, 0, self.config.max_grad_norm)
        self.parameters.grad = grad
        self._step()

    def scheduled(self) -> dict[str, float]:
        """The settings that are the same for all members, at the current env step."""
        return self._settings.scheduled(self.member_step)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue learning; the replay or the current rollout is under "replay"."""
        return {
            "weights": self.weights(),
            "optimizer": {"state": copy.deepcopy(self.optimizer.state_dict()["state"])},
            "env_step": self.env_step,
            "updates": self.updates,
            "ended": self.ended.clone(),
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; ValueError for another number of members."""
        members = len(state["weights"]["parameters"])
        if members != self.members:
            raise ValueError(f"the state has {members} members, this population {self.members}")
        self.parameters.copy_(state["weights"]["parameters"])
        optimizers.load_state(self.optimizer, state["optimizer"])
        self.env_step, self.updates = state["env_step"], state["updates"]
        self.ended.copy_(state["ended"])
        if self._captured is not None:
            self._captured.forget()


def _numbers(name: str, values: Sequence[float]) -> tuple[float, ...]:
    if name not in WHOLE:
        return tuple(float(value) for value in values)
    for value in values:
        if value != int(value):
            raise ValueError(f"{name} must be a whole number, got {value:g}")
    return tuple(int(value) for value in values)
