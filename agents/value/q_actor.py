"""How an agent with action values acts: epsilon-greedily, with its own noise if the network is noisy."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from gymnasium.spaces import Discrete
from torch import Tensor

from gymnast.agents.base import Acted, restore_generator, seed_sequence, torch_seed
from gymnast.agents.maths.td import allowed as allowed_only
from gymnast.agents.optim.together import Rows
from gymnast.agents.schedules import Schedule
from gymnast.agents.value.dqn_config import DQNConfig
from gymnast.agents.value.pqn_config import PQNConfig
from gymnast.agents.value.values import Interpretation
from gymnast.envs.step import Obs
from gymnast.networks.fast.numpy_forward import NumpyForward
from gymnast.networks.heads.q import QNetwork
from gymnast.networks.layers.noisy import draw_noise


class OffPolicy(Protocol):
    """The part of an agent that `QActor` uses."""

    config: DQNConfig
    action_space: Discrete
    device: torch.device
    acting: QNetwork
    numpy_q: NumpyForward | None
    epsilon: Schedule
    env_step: int
    first_action: int

    @property
    def values(self) -> Interpretation: ...


class OnPolicy(Protocol):
    """The part of an agent that `PQNActor` uses."""

    config: PQNConfig
    device: torch.device
    exploration: Tensor
    first_action: int
    actions: int

    def best(self, obs: Obs, mask: Tensor | None) -> tuple[Tensor, Tensor]: ...


def explored(
    greedy: Tensor, actions: int, allowed: Tensor | None, epsilon: float | Tensor, generator: torch.Generator
) -> Tensor:
    """`mixed`, with uniform numbers of a generator."""
    uniform = torch.rand((2, len(greedy)), generator=generator, device=greedy.device)
    return mixed(greedy, uniform, actions, allowed=allowed, epsilon=epsilon)


def mixed(greedy: Tensor, uniform: Tensor, actions: int, *, allowed: Tensor | None, epsilon: float | Tensor) -> Tensor:
    """Greedy actions int64 [N], or with probability epsilon any of `actions` (allowed ones, by a bool [N, A]).

    Uniform numbers [2, N] decide which rows explore, and their random actions. Actions are counted from 0, and the
    host reads none. A row that allows none takes the first action.
    """
    if allowed is None:
        random = (uniform[1] * actions).long()
    else:  # the k-th allowed action, k uniform: the first whose running count of allowed ones exceeds k
        count = allowed.cumsum(1)
        chosen = (uniform[1] * count[:, -1]).long()
        random = (count > chosen.unsqueeze(1)).int().argmax(1)
    return torch.where(uniform[0] < epsilon, random, greedy)


class QActor:
    """Acts on the agent's acting network, which it shares, with its own generators.

    During exploration a noisy network gets new noise for every action of every row; otherwise it gets none, so that an
    evaluation is repeatable.
    """

    def __init__(
        self,
        agent: OffPolicy,
        num_envs: int,
        *,
        explore: bool,
        seed: int | np.random.SeedSequence,
        eval_epsilon: float = 0.0,
    ) -> None:
        self.agent, self.num_envs, self.explore, self.eval_epsilon = agent, num_envs, explore, eval_epsilon
        self.row_epsilon: np.ndarray | None = None
        """Of each row, [N], in place of the agent's schedule while exploring on the CPU."""
        sequence = seed_sequence(seed)
        self.rng = np.random.Generator(np.random.PCG64(sequence))
        self._actions = int(agent.action_space.n)
        # The results for N = 1: reading a tensor is faster than making a new one.
        self._single = [torch.tensor([agent.first_action + action]) for action in range(self._actions)]
        size = agent.acting.noise_size + agent.acting.fractions if explore else 0
        self._noise = torch.zeros((num_envs, size), device=agent.device) if size else None
        self._noise_generator = torch.Generator(agent.device).manual_seed(torch_seed(sequence.spawn(1)[0]))

    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        agent = self.agent
        epsilon: Any = agent.epsilon(agent.env_step) if self.explore else self.eval_epsilon
        if self.explore and self.row_epsilon is not None:
            epsilon = self.row_epsilon
        mask = action_mask if agent.config.action_masks else None
        if agent.device.type != "cpu":
            return Acted(self.act_on_device(obs, mask, epsilon), mask=mask)
        if mask is not None:
            return self._act_masked(obs, mask, epsilon)
        if self.num_envs == 1:
            uniform, other = self.rng.random(2).tolist()
            if uniform < epsilon:
                return Acted(self._single[int(other * self._actions)])
            return Acted(self._single[int(self._q(obs).argmax())])
        uniforms = self.rng.random((2, self.num_envs))
        greedy = self._q(obs).argmax(1)
        action = np.where(uniforms[0] < epsilon, (uniforms[1] * self._actions).astype(np.int64), greedy)
        return Acted(torch.from_numpy(action + agent.first_action))

    @torch.no_grad()
    def act_on_device(self, obs: Obs, allowed: Tensor | None, epsilon: float) -> Tensor:
        """Epsilon-greedy actions, int64 [N], which the host does not read; like `_act_masked` if masked."""
        agent, generator = self.agent, self._noise_generator
        if self._noise is not None:
            draw_noise(self._noise, agent.config.noise, generator, weights=agent.acting.noise_size)
        q = self._preference(agent.acting(obs, self._noise))  # [N, A]
        greedy = allowed_only(q, allowed).argmax(1)
        return explored(greedy, q.shape[1], allowed, epsilon, generator) + agent.first_action

    def _act_masked(self, obs: Obs, mask: Tensor, epsilon: float) -> Acted:
        """Epsilon-greedy among the allowed actions, bool [N, A]; a row that allows none takes the first action."""
        allowed = mask.numpy()
        uniforms = self.rng.random((2, self.num_envs))
        greedy = np.where(allowed, self._q(obs), -np.inf).argmax(1)
        # The k-th allowed action, k uniform: the first whose running count of allowed ones exceeds k.
        chosen = (uniforms[1] * allowed.sum(1)).astype(np.int64)
        random = (allowed.cumsum(1) > chosen[:, None]).argmax(1)
        action = np.where(uniforms[0] < epsilon, random, greedy)
        return Acted(torch.from_numpy(action + self.agent.first_action), mask=mask)

    def _q(self, obs: Obs) -> np.ndarray:
        """Action values, or numbers in the same order; [N, A]."""
        agent, noise = self.agent, self._noise
        if noise is not None:
            draw_noise(noise, agent.config.noise, self._noise_generator, weights=agent.acting.noise_size)
        if agent.numpy_q is not None and isinstance(obs, Tensor):
            output = agent.numpy_q(obs.numpy(), None if noise is None else noise.numpy())
            if output.shape[2] == 1:
                return output[..., 0]
            return self._preference(torch.from_numpy(output)).numpy()
        with torch.no_grad():
            return self._preference(agent.acting(obs, noise)).numpy()

    def _preference(self, output: Tensor) -> Tensor:
        """The network's output [N, A, K] as numbers in the order of preference, [N, A]."""
        return self.agent.values.q(output)

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state, "noise_generator": self._noise_generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]
        restore_generator(self._noise_generator, state["noise_generator"])


class PQNActor:
    """Acts on the agent's network, which it shares, with its own generator.

    While exploring, epsilon is the agent's for the current rollout. On the CPU it also returns the largest action
    value.
    """

    def __init__(
        self, agent: OnPolicy, *, explore: bool, seed: int | np.random.SeedSequence, eval_epsilon: float = 0.0
    ) -> None:
        self.agent, self.explore, self.eval_epsilon = agent, explore, eval_epsilon
        self.rows: Rows | None = None
        self.generator = torch.Generator(agent.device).manual_seed(torch_seed(seed_sequence(seed)))

    @property
    def generators(self) -> tuple[torch.Generator, ...]:
        """All generators that it draws from; a recording must know them."""
        return (self.generator,)

    @torch.no_grad()
    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        agent = self.agent
        mask = action_mask if agent.config.action_masks else None
        value, action = agent.best(obs, mask)
        epsilon = agent.exploration if self.explore else self.eval_epsilon
        if self.explore or self.eval_epsilon > 0.0:
            action = self._explored(action, mask, epsilon)
        told = value.unsqueeze(1) if agent.device.type == "cpu" else None
        return Acted(action + agent.first_action if agent.first_action else action, value=told, raw=action)

    def _explored(self, greedy: Tensor, mask: Tensor | None, epsilon: float | Tensor) -> Tensor:
        """`explored`; of several learners, each draws for all and takes its own."""
        rows, actions = self.rows, self.agent.actions
        if rows is None:
            return explored(greedy, actions, mask, epsilon, self.generator)
        mask = None if mask is None else rows.among_all(mask)
        return rows.of(explored(rows.among_all(greedy), actions, mask, epsilon, self.generator))

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        restore_generator(self.generator, state["generator"])
