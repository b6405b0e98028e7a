"""Many PPO or A2C agents on one device at once, each with its own seed and settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Acted, Metrics, torch_seed
from gymnast.agents.optim.compiled import Compiled
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.agents.policy.actor_critic_network import actor_critic_network
from gymnast.agents.policy.reward_scale import RewardScale
from gymnast.agents.population.actor import PopulationActor
from gymnast.agents.population.base import Seed, Weights
from gymnast.agents.population.loss import MemberLoss
from gymnast.agents.population.rollouts import RolloutPopulation
from gymnast.agents.population.samples import MemberSamples, obs_by_member, samples
from gymnast.agents.population.settings import check_distribution
from gymnast.agents.schedules import ScheduleLike
from gymnast.envs.step import Obs, Step
from gymnast.networks.distributions.distributions import distribution
from gymnast.networks.heads.actor_critic import ActorCriticNetwork
from gymnast.networks.stacked.layers import flat
from gymnast.networks.stacked.norm import StackedNorm, StackedScale
from gymnast.networks.stacked.policy import StackedActorCritic


class ActorCriticPopulation(RolloutPopulation[MemberSamples]):
    """M actor-critics: a member learns and, with the default `noise`, draws the same as an `ActorCritic`."""

    defaults = ActorCriticConfig()
    varied = ("learning_rate", "gamma", "gae_lambda", "entropy_coef", "clip")
    network: StackedActorCritic

    def _prepare(self, seeds: Sequence[np.random.SeedSequence]) -> None:
        super()._prepare(seeds)
        config = self.config
        self.distribution = distribution(self.action_space, squash=config.squash, device=self.device)
        check_distribution(self.distribution)
        spawned = [seed.spawn(3)[:2] for seed in seeds]  # as in `ActorCritic`
        self._build_networks([init for init, _ in spawned])
        self._order = self._make_noise([order for _, order in spawned], self.device)
        self.norm, self.scale = self._new_norm(), self._new_scale()

    def _variable(self) -> dict[str, ScheduleLike]:
        return {**super()._variable(), "value_clip": self.config.value_clip or 0.0}

    def _build_networks(self, seeds: Sequence[np.random.SeedSequence]) -> None:
        """Build the networks of all members, their optimizer and their loss."""
        config = self.config
        self.network = StackedActorCritic(self._network_of(seeds[0]).to(self.device))
        self._build([flat(self._network_of(seed)) for seed in seeds], max_grad_value=config.max_grad_value)
        self.loss = MemberLoss(self.network, self.distribution, config, self._settings.now)
        self._gradient = Compiled(self.loss.gradient) if config.compile else self.loss.gradient

    def _network_of(self, seed: np.random.SeedSequence) -> ActorCriticNetwork:
        generator = torch.Generator().manual_seed(torch_seed(seed))
        config = dataclasses.replace(self.config, normalise_obs=False)  # `norm` does it, and draws nothing
        return actor_critic_network(config.network, self.observation_space, self.distribution, config, generator)

    def _new_norm(self) -> StackedNorm | None:
        if not self.config.normalise_obs:
            return None
        return StackedNorm(self.observation_space, self.members, device=self.device)

    def _new_scale(self) -> RewardScale | None:
        if not self.config.normalise_rewards:
            return None
        statistics = StackedScale(self.members, self.num_envs, device=self.device)
        gamma = self._settings.now["gamma"].repeat_interleave(self.num_envs)
        return RewardScale(gamma, len(gamma), device=self.device, statistics=statistics)

    def weights(self) -> Weights:
        """A copy of everything that acting depends on, [M, ...]: parameters, and the statistics of observations."""
        return {**super().weights(), **(self.norm.state() if self.norm is not None else {})}

    def actor(
        self,
        num_envs: int,
        *,
        explore: bool,
        seed: Seed | Sequence[Seed],
        weights: Weights | None = None,
    ) -> PopulationActor:
        noise = self._noise_of(num_envs, seed)
        rows: Tensor = self.parameters
        norm = self.norm
        if weights is not None:
            rows, norm = weights["parameters"], self._new_norm()
            if norm is not None:
                norm.load(weights)
        return PopulationActor(
            self.network,
            self.distribution,
            rows,
            noise,
            norm=norm,
            draws=explore or self.config.eval_sample,
            masks=self.config.action_masks,
        )

    @torch.no_grad()
    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        self._check_room()
        self.rollout.add(
            obs=obs,
            raw=acted.raw,
            mask=acted.mask,
            log_prob=acted.log_prob,
            value=acted.value,
            reward=step.reward,
            terminated=step.terminated,
            ended=step.ended,
            next_obs=step.next_obs,
            active=step.active,
        )
        self._count(step)

    def _learn(self) -> Metrics:
        metrics = super()._learn()
        if self.norm is not None:  # last, so that learning sees the same policy that acted
            self.norm.update(obs_by_member(self.rollout.fields["obs"], self.members))
        return metrics

    @torch.no_grad()
    def _samples(self) -> MemberSamples:
        """The rollout by members, with advantages and targets."""
        fields, members = self.rollout.fields, self.members
        obs, next_obs = (obs_by_member(fields[name], members) for name in ("obs", "next_obs"))
        if self.norm is not None:
            obs, next_obs = self.norm(obs), self.norm(next_obs)
        reward = fields["reward"].clamp(-1.0, 1.0) if self.config.clip_rewards else fields["reward"]
        if self.scale is not None:
            reward = self.scale(reward, fields["ended"], self.rollout.weight)
        next_value = self.network.value(self.parameters.detach(), next_obs).squeeze(2)
        gamma, lam = self._settings.now["gamma"], self._settings.now["gae_lambda"]
        return samples(fields, obs, reward=reward, next_value=next_value, gamma=gamma, lam=lam)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "scale": None if self.scale is None else self.scale.state_dict()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if self.norm is not None:
            self.norm.load(state["weights"])
        if self.scale is not None:
            self.scale.load_state_dict(state["scale"])
