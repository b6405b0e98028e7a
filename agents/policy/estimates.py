"""Advantages and value targets of a rollout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from gymnast.agents.base import Metrics
from gymnast.agents.maths import means, returns
from gymnast.agents.maths.moments import moments
from gymnast.agents.optim.together import Together
from gymnast.agents.policy.reward_scale import RewardScale
from gymnast.agents.samples import Behaviour, Samples, cut
from gymnast.replay.rollout import Rollout

if TYPE_CHECKING:
    from gymnast.agents.policy.actor_critic_config import ActorCriticConfig

Array = NDArray[Any]


class Estimates:
    """Makes samples of a rollout, of steps or of sequences of `length` steps.

    With novelty rewards there are two streams of rewards and V = 2 values, else one.
    """

    def __init__(self, config: ActorCriticConfig, rollout: Rollout, *, length: int | None) -> None:
        self.config, self.rollout, self.length = config, rollout, length
        device = rollout.weight.device
        self.compiled = device.type == "cpu"
        self.scale = self.novelty_scale = None
        if config.normalise_rewards:
            self.scale = RewardScale(config.gamma, rollout.num_envs, device=device)
        if config.intrinsic != "none":
            gamma = config.intrinsic_gamma
            self.novelty_scale = RewardScale(gamma, rollout.num_envs, device=device, episodic=False)
        self.last_value = torch.zeros((rollout.num_envs, 1 if self.novelty_scale is None else 2), device=device)
        """[N, V], of the successors of the last step."""
        self.together: Together | None = None
        self.seen: Metrics = {}
        """Metrics of rewards and values."""

    @torch.no_grad()
    def see(self) -> None:
        """Prepare the rewards of a rollout for learning, [T, N, V]."""
        fields, weight = self.rollout.fields, self.rollout.weight
        reward: Tensor = fields["reward"]
        if self.config.clip_rewards:
            reward = reward.clamp(-1.0, 1.0)
        if self.scale is not None:
            reward = self.scale(reward, fields["ended"], weight)
        self._reward, self.seen = reward.unsqueeze(2), {}
        if self.novelty_scale is not None:
            novelty = self.novelty_scale(fields["novelty"], fields["ended"], weight)
            self._reward = torch.stack([reward, novelty], 2)
            share = means.shares(weight.flatten())
            self.seen["intrinsic_reward"] = means.weighted_mean(novelty.flatten(), share)

    @torch.no_grad()
    def samples(self, value: Tensor, log_ratio: Tensor | None = None) -> Samples:
        """The rollout's samples, by these values [T, N, V] and, for V-trace, log-ratios [T, N] of the policies."""
        fields, weight = self.rollout.fields, self.rollout.weight
        if self.compiled and self.novelty_scale is None and log_ratio is None:
            advantage, target = self._compiled()
        else:
            advantage, target = self._by_torch(value, log_ratio)
        if self.together is not None:
            explained = self.together.explained_variance(value[..., 0], target[..., 0], weight)
            self.seen["explained_variance"] = explained
        old = Behaviour(fields["log_prob"], advantage, fields["value"], target)
        mask, start, memory = (fields.get(name) for name in ("mask", "start", "memory"))
        samples = Samples(fields["obs"], fields["raw"], old, weight, mask, start, memory)
        if self.config.auxiliary != "none":
            samples = samples._replace(next_obs=fields.get("next_obs"), reward=self._reward[..., 0])
        return cut(samples, self.length)

    def _compiled(self) -> tuple[Tensor, Tensor]:
        """Advantages [T, N] and targets [T, N, 1] by GAE of one stream of rewards, on the CPU."""
        fields = self.rollout.fields
        with_values = (self._reward, fields["value"], self.last_value, fields["final_value"])
        reward, value, last_value, final_value = (part[..., 0].numpy() for part in with_values)
        advantage, target, explained = estimate(
            reward,
            value,
            last_value,
            final_value,
            fields["terminated"].numpy(),
            fields["ended"].numpy(),
            self.rollout.weight.numpy(),
            self.config.gamma,
            self.config.gae_lambda,
        )
        self.seen["explained_variance"] = torch.tensor(explained)
        return torch.from_numpy(advantage), torch.from_numpy(target).unsqueeze(2)

    def _by_torch(self, value: Tensor, log_ratio: Tensor | None) -> tuple[Tensor, Tensor]:
        """Advantages [T, N] and targets [T, N, V]."""
        config, fields, weight = self.config, self.rollout.fields, self.rollout.weight
        ended, reward = fields["ended"], self._reward
        following = torch.cat([value[1:], self.last_value.unsqueeze(0)])  # [T, N, V]
        next_value = torch.where(ended, fields["final_value"][..., 0], following[..., 0])
        discount = config.gamma * (1.0 - fields["terminated"].float())  # truncation keeps the bootstrap
        advantage, target = self._estimate(log_ratio, reward[..., 0], discount, value[..., 0], next_value, ended)
        targets = [target]
        share = means.shares(weight.flatten())
        explained = means.explained_variance(value[..., 0].flatten(), target.flatten(), share)
        self.seen["explained_variance"] = explained
        if self.novelty_scale is not None:  # its return continues after an end (Burda et al. 2019, section 2.3)
            discount, never = torch.full_like(discount, config.intrinsic_gamma), torch.zeros_like(ended)
            parts = (reward[..., 1], discount, value[..., 1], following[..., 1], never)
            of_novelty, target = self._estimate(log_ratio, *parts)
            advantage = advantage + config.intrinsic_coef * of_novelty
            targets.append(target)
        return advantage, torch.stack(targets, 2)

    def _estimate(self, log_ratio: Tensor | None, *parts: Tensor) -> tuple[Tensor, Tensor]:
        """Advantages and value targets from rewards, discounts, values, next values and boundaries, all [T, N]."""
        reward, discount, value, next_value, boundary = parts
        lam = self.config.gae_lambda
        if log_ratio is None:
            advantage = returns.gae(reward, discount, value, next_value, boundary, lam)
            return advantage, advantage + value
        target, advantage = returns.vtrace(log_ratio, reward, discount, value, next_value, boundary, lam=lam)
        return advantage, target

    def state_dict(self) -> dict[str, Any]:
        """The statistics of rewards."""
        return {name: scale.state_dict() for name, scale in self._scales().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, scale in self._scales().items():
            scale.load_state_dict(state[name])

    def _scales(self) -> dict[str, RewardScale]:
        scales = {"scale": self.scale, "novelty_scale": self.novelty_scale}
        return {name: scale for name, scale in scales.items() if scale is not None}


@njit(cache=True)
def estimate(
    reward: Array,
    value: Array,
    last_value: Array,
    final_value: Array,
    terminated: Array,
    ended: Array,
    weight: Array,
    gamma: float,
    lam: float,
) -> tuple[Array, Array, float]:
    """Advantages and targets [T, N] by GAE, and the explained variance; all but the last values [N] are [T, N].

    `value` is that of the observation, `final_value` that of the successor if an episode ended; `last_value` [N] is
    that of the successor of the last step.
    """
    steps, rows = reward.shape
    advantages, targets = np.empty((steps, rows), np.float32), np.empty((steps, rows), np.float32)
    for n in range(rows):
        advantage, following = 0.0, last_value[n]
        for t in range(steps - 1, -1, -1):
            carried = 0.0 if ended[t, n] else gamma * lam
            after = final_value[t, n] if ended[t, n] else following
            bootstrap = 0.0 if terminated[t, n] else gamma * after
            advantage = reward[t, n] + bootstrap - value[t, n] + carried * advantage
            advantages[t, n], targets[t, n] = advantage, advantage + value[t, n]
            following = value[t, n]
    count = weight.reshape(-1)
    _, _, unexplained = moments(advantages.reshape(-1), count)
    _, _, variance = moments(targets.reshape(-1), count)
    return advantages, targets, 1.0 - unexplained / variance if variance > 0.0 else 0.0
