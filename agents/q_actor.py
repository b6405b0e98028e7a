"""How an agent with action values acts: epsilon-greedily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Acted, seed_sequence
from gymnast.envs.step import Obs

if TYPE_CHECKING:
    from gymnast.agents.dqn import DQN


class QActor:
    """Acts on the agent's online network, which it shares, with a generator of its own."""

    def __init__(self, agent: DQN, num_envs: int, *, explore: bool, seed: int | np.random.SeedSequence) -> None:
        self.agent, self.num_envs, self.explore = agent, num_envs, explore
        self.rng = np.random.Generator(np.random.PCG64(seed_sequence(seed)))
        self._actions = int(agent.action_space.n)
        # The N = 1 answers: a tensor made once is read faster than a new one is made.
        self._single = [torch.tensor([agent.first_action + action]) for action in range(self._actions)]

    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        agent = self.agent
        epsilon = agent.epsilon(agent.env_step) if self.explore else agent.config.eval_epsilon
        if self.num_envs == 1:
            uniform, other = self.rng.random(2).tolist()
            if uniform < epsilon:
                return Acted(self._single[int(other * self._actions)])
            return Acted(self._single[int(self._q(obs).argmax())])
        uniforms = self.rng.random((2, self.num_envs))
        greedy = self._q(obs).argmax(1)
        action = np.where(uniforms[0] < epsilon, (uniforms[1] * self._actions).astype(np.int64), greedy)
        return Acted(torch.from_numpy(action + agent.first_action).to(agent.device))

    def _q(self, obs: Obs) -> np.ndarray:
        """Action values [N, A]."""
        agent = self.agent
        if agent.numpy_q is not None and isinstance(obs, Tensor):
            output: np.ndarray = agent.numpy_q(obs.numpy())
            return output[..., 0]
        with torch.no_grad():
            q: np.ndarray = agent.values.q(agent.online(obs)).cpu().numpy()
        return q

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]
