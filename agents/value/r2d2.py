"""Recurrent Q-learning from sequences (R2D2, Kapturowski et al. 2019): its loss, and how it acts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Acted, Metrics
from gymnast.agents.experience.replay import Sequences
from gymnast.agents.experience.sequences import Steps, following, learned, mixed
from gymnast.agents.maths.td import chosen
from gymnast.agents.value.backup import Backup
from gymnast.agents.value.dqn_config import DQNConfig
from gymnast.agents.value.q_actor import OffPolicy, QActor
from gymnast.agents.value.values import Interpretation
from gymnast.envs.step import Obs
from gymnast.networks.heads.q import QNetwork
from gymnast.networks.heads.recurrent_q import RecurrentQNetwork
from gymnast.networks.layers.noisy import draw_noise
from gymnast.networks.layers.recurrent import reset
from gymnast.replay.sequences import SequenceBatch, SequenceShape


def sequences_of(config: DQNConfig, network: QNetwork) -> Sequences | None:
    """What the replay of a recurrent network stores besides steps; None for another network."""
    if not isinstance(network, RecurrentQNetwork):
        return None
    return Sequences(SequenceShape(config.burn_in, config.sequence_length, config.sequence_period), network.memory_size)


def sequence_loss(
    batch: SequenceBatch,
    noise: Tensor | None,
    *,
    online: QNetwork,
    target: QNetwork,
    values: Interpretation,
    backup: Backup,
    eta: float,
) -> tuple[Tensor, Tensor, Metrics]:
    """Loss [], error of each sequence [B], and the mean value of the actions taken.

    Each network warms up its own memory over the prefix, from the memory that the actor had. The loss is the mean over
    the transitions of weight * loss; steps without one do not count. `noise` [3, 1 or B * (L + n), P] is for the online
    network, the target network, and the choice of the next action by the online network.
    """
    assert isinstance(online, RecurrentQNetwork)
    assert isinstance(target, RecurrentQNetwork)
    noise_online, noise_target, noise_choice = (None, None, None) if noise is None else noise
    features = online.features(batch.obs, batch.start, warmed(online, batch))  # [B, L + n, H]
    output = chosen(learned(online.read(features, noise_online), batch), batch.action.flatten())  # [B * L, K]
    with torch.no_grad():
        target_features = target.features(batch.obs, batch.start, warmed(target, batch))
        target_output = target.read(target_features, noise_target)  # [B, L + n, A, K]
        next_output = following(target_output, batch)  # [B * L, A, K]
        steps = Steps.of(batch)
        reward, next_output = backup(
            steps,
            next_output,
            choice=lambda: following(online.read(features, noise_choice), batch),
            before=lambda: learned(target_output, batch),
        )
    loss, error = values.td_loss(output, reward, steps.discount, next_output)
    valid, count = batch.valid, batch.valid.sum().clamp(min=1.0)
    mean_loss = (batch.weight.unsqueeze(1) * valid * loss.view_as(valid)).sum() / count
    q = (valid.flatten() * values.q(output.detach().unsqueeze(1)).flatten()).sum() / count
    return mean_loss, mixed(error.view_as(valid), valid, eta=eta), {"loss": mean_loss.detach(), "q": q}


@torch.no_grad()
def warmed(network: RecurrentQNetwork, batch: SequenceBatch) -> Tensor:
    """The memory [B, M] after the prefix, without gradient (burn-in, section 3 of the paper)."""
    if batch.prefix_start.shape[1] == 0:
        return batch.memory
    return network.after(batch.prefix_obs, batch.prefix_start, batch.memory)


class RecurrentActor(QActor):
    """A `QActor` with a memory of each row's current episode."""

    def __init__(
        self,
        agent: OffPolicy,
        num_envs: int,
        *,
        explore: bool,
        seed: int | np.random.SeedSequence,
        eval_epsilon: float = 0.0,
    ) -> None:
        super().__init__(agent, num_envs, explore=explore, seed=seed, eval_epsilon=eval_epsilon)
        assert isinstance(agent.acting, RecurrentQNetwork)
        self._network = agent.acting
        self.memory = torch.zeros((num_envs, self._network.memory_size), device=agent.device)
        """[N, M], of the observations acted on so far."""

    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        """Like `QActor.act`; `Acted.memory` is the memory before `obs`, zero in rows that begin an episode."""
        if self._noise is not None:
            draw_noise(self._noise, self.agent.config.noise, self._noise_generator, weights=self._network.noise_size)
        memory = reset(self.memory, start)
        with torch.no_grad():
            output, self.memory = self._network.step(obs, memory, self._noise)
            self._values = self.agent.values.q(output).cpu().numpy()
        acted = super().act(obs, start, action_mask)
        acted.memory = memory
        return acted

    def _q(self, obs: Obs) -> np.ndarray:
        """Action values [N, A], already computed for the memory, whether the action is random or not."""
        return self._values

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "memory": self.memory.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.memory = state["memory"].to(self.agent.device)
