"""The gradients of `Losses` written down: ReLU layers on vectors, Box actions, one value for each critic, on the CPU.

An update of SAC is then a third of the calls that autograd makes of it. `benchmarks/off_policy.py` measures the whole.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.maths.actor_critic import critic_loss
from gymnast.agents.maths.td import weighted_mean
from gymnast.agents.off_policy.losses import Draws, Losses
from gymnast.agents.off_policy.policies import LOG_STD_MAX, LOG_STD_MIN
from gymnast.networks.fast.member_passes import MemberPasses
from gymnast.networks.heads.critics import CriticNetwork
from gymnast.replay.transitions import Batch


class ClosedForm:
    """Writes the gradients of the critics' and the policy's losses, and returns the losses' other results."""

    def __init__(self, losses: Losses) -> None:
        self.losses, self.config, self.temperature = losses, losses.config, losses.temperature
        self.critics, self.policy = MemberPasses(losses.online.critics), MemberPasses(losses.network.layers)
        self.targets = MemberPasses((losses.target if self.config.target_network else losses.online).critics)
        follows = losses.config.policy == "deterministic"
        self.next_policy = MemberPasses(losses.target_policy.layers) if follows else self.policy

    def of_critics(self, batch: Batch, draws: Any) -> tuple[Tensor, Metrics]:
        """The error of each sample [B], and metrics; see `Losses.of_critics`."""
        with torch.no_grad():
            target = self._target(batch, draws)
            q = self.critics.forward(torch.cat([self._vector(batch.obs), batch.action], 1))  # [M, B, 1]
            loss, error = critic_loss(q, target)
            weight = batch.weight * (2.0 / len(error))
            self.critics.write_gradients((q - target) * weight.unsqueeze(1))
            mean_loss = weighted_mean(loss, batch.weight)
            return error, {"loss": mean_loss, "q": q.mean()}

    def _vector(self, obs: Any) -> Tensor:
        return self.losses.online.features(obs)

    def _target(self, batch: Batch, draws: Draws) -> Tensor:
        """Targets [B, 1]."""
        next_obs = self._vector(batch.next_obs)
        output = self.next_policy.forward(next_obs)[0]
        choice = self.losses.policy.choose(output, draws.next_action)
        assert choice.action is not None
        next_q = self.targets.forward(torch.cat([next_obs, choice.action], 1))
        return self.losses.target_of(batch, choice, next_q.unsqueeze(2), draws.subset)

    def of_policy(self, batch: Batch, draws: Any) -> tuple[Tensor, Metrics]:
        """The entropy in each observation [B], and metrics; see `Losses.of_policy`."""
        with torch.no_grad():
            obs = self._vector(batch.obs)
            output = self.policy.forward(obs)[0]
            noise = draws.action if self.config.policy == "stochastic" else None
            choice = self.losses.policy.choose(output, noise)
            assert choice.action is not None
            q = self.critics.forward(torch.cat([obs, choice.action], 1), first=self.config.policy_value == "first")
            by_action = self.critics.slopes_by_inputs(self._by_critics(q), obs.shape[1])
            self.policy.write_gradients(self._by_outputs(output, noise, choice.action, by_action).unsqueeze(0))
            _, entropy, metrics = self.losses.policy_loss(q.unsqueeze(2), choice)
            return entropy, metrics

    def _by_critics(self, q: Tensor) -> Tensor:
        """Slopes [M, B, 1] of the policy's loss by the values [M, B, 1] of the critics that were asked."""
        members, rows = q.shape[:2]
        if self.config.policy_value != "min":
            return torch.full_like(q, -1.0 / (rows * members))
        if members == 1:
            return torch.full_like(q, -1.0 / rows)
        return torch.zeros_like(q).scatter_(0, q.argmin(0, keepdim=True), -1.0 / rows)

    def _by_outputs(self, output: Tensor, noise: Tensor | None, action: Tensor, by_action: Tensor) -> Tensor:
        """Slopes [B, P] by the policy's outputs, given those by its actions [B, D]."""
        by_raw = by_action * (1.0 - action.square())
        if noise is None:
            return by_raw
        # The log-density's slope by raw is 2 tanh(raw), and by log_std -1.
        density = self.temperature / len(action)
        by_raw = torch.addcmul(by_raw, action, 2.0 * density)
        log_std = output[:, action.shape[1] :]
        inside = (log_std >= LOG_STD_MIN) & (log_std <= LOG_STD_MAX)
        return torch.cat([by_raw, (by_raw * noise * log_std.exp() - density) * inside], 1)


def closed_form(losses: Losses) -> ClosedForm | None:
    """The closed form of these losses; None where autograd has to find the gradients."""
    config, online = losses.config, losses.online
    if not losses.boxed or config.values != "scalar" or not config.target_network:
        return None
    if config.compile or losses.temperature.device.type != "cpu" or not _reads_vectors(online):
        return None
    return ClosedForm(losses) if online.critics.is_relu and losses.network.layers.is_relu else None


def _reads_vectors(network: CriticNetwork) -> bool:
    """Whether its encoder only flattens observations, without weights of its own."""
    return next(network.encoder.parameters(), None) is None
