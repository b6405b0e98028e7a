"""Many PPO or A2C agents on one device at once, each with its own seed and settings."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from gymnast.agents.base import Acted, Metrics, seed_sequence, torch_seed
from gymnast.agents.optim import optimizers
from gymnast.agents.optim.allocator import keep_freed_pages
from gymnast.agents.optim.compiled import Captured, Compiled
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.agents.policy.actor_critic_network import actor_critic_network
from gymnast.agents.policy.reward_scale import RewardScale
from gymnast.agents.population import optimizers as stacked_optimizers
from gymnast.agents.population.actor import PopulationActor
from gymnast.agents.population.loss import MemberLoss
from gymnast.agents.population.noise import MakeNoise, Noise, OwnGenerators
from gymnast.agents.population.samples import MemberSamples, chosen, obs_by_member, samples
from gymnast.agents.population.settings import MemberSettings, check
from gymnast.envs.step import Obs, Step
from gymnast.networks.distributions.distributions import distribution
from gymnast.networks.heads.actor_critic import ActorCriticNetwork
from gymnast.networks.stacked.norm import StackedNorm, StackedScale
from gymnast.networks.stacked.policy import StackedActorCritic, stacked
from gymnast.replay.rollout import Rollout

Seed = int | np.random.SeedSequence
Weights = dict[str, Tensor]


class Population:
    """M actor-critics that learn independently in M * N rows of one environment, N rows for each in turn.

    A member learns what an `ActorCritic` with its seed and settings learns in its N rows, up to rounding, given the
    same random numbers: with the default `noise` they are the same. `vary` gives settings that differ, M numbers each
    (see `settings.VARIED`). To the loop it is one agent of M * N rows, whose metrics are [M].

    Raises:
        ValueError: for spaces or settings that a population does not support.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: ActorCriticConfig | None = None,
        *,
        seeds: Sequence[Seed],
        num_envs: int = 1,
        vary: Mapping[str, Sequence[float]] | None = None,
        device: str | torch.device = "cpu",
        noise: MakeNoise = OwnGenerators,
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.config = config = config or ActorCriticConfig()
        self.members, self.num_envs, self.device = len(seeds), num_envs, torch.device(device)
        self.vary = {name: tuple(float(value) for value in values) for name, values in (vary or {}).items()}
        self.distribution = distribution(action_space, squash=config.squash, device=self.device)
        samples = num_envs * config.rollout_steps
        check(config, self.distribution, self.vary, members=self.members, samples=samples, device=self.device)
        for member in range(self.members if self.vary else 0):
            self.config_of(member)  # checks the numbers
        self._make_noise = noise
        self.env_step = self.updates = 0
        """Transitions of all members together; updates of each member."""
        self._began = 0
        self._settings = MemberSettings(config, self.vary, members=self.members, device=self.device)
        spawned = [seed_sequence(seed).spawn(3)[:2] for seed in seeds]  # as in `ActorCritic`
        self._build_networks([init for init, _ in spawned])
        self._order: Noise = noise([torch_seed(order) for _, order in spawned], self.device)
        self.norm, self.scale = self._new_norm(), self._new_scale()
        self._captured = Captured(self._learn) if config.cuda_graphs else None
        self.rollout = Rollout(config.rollout_steps, self.members * num_envs, device=self.device)
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self.ended = torch.zeros((2, self.members), dtype=dtype, device=self.device)
        """Episodes that ended since this was last zeroed, and the sum of their returns."""
        if self.device.type == "cpu":
            keep_freed_pages()

    def _build_networks(self, seeds: Sequence[np.random.SeedSequence]) -> None:
        """Build the networks of all members, their optimizer and their update."""
        config = self.config
        self.network = StackedActorCritic(self._network_of(seeds[0]).to(self.device))
        rows = torch.stack([stacked(self._network_of(seed)) for seed in seeds])
        self.parameters = nn.Parameter(rows.to(self.device))
        """[M, P]."""
        self.optimizer = stacked_optimizers.build(
            config.optimizer,
            self.parameters,
            rate=self._settings.rate(0),
            eps=config.optimizer_eps,
            captured=config.cuda_graphs,
        )
        self._step = optimizers.stepper(self.optimizer)
        self.loss = MemberLoss(self.network, self.distribution, config, self._settings.now)
        self._gradient = Compiled(self.loss.gradient) if config.compile else self.loss.gradient

    def _network_of(self, seed: np.random.SeedSequence) -> ActorCriticNetwork:
        generator = torch.Generator().manual_seed(torch_seed(seed))
        config = dataclasses.replace(self.config, normalise_obs=False)  # `norm` does it, and draws nothing
        return actor_critic_network(config.backbone, self.observation_space, self.distribution, config, generator)

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

    def config_of(self, member: int) -> ActorCriticConfig:
        """The config of a member's single run."""
        own: dict[str, Any] = {name: values[member] for name, values in self.vary.items()}
        return dataclasses.replace(self.config, **own)

    def weights(self) -> Weights:
        """A copy of everything that acting depends on, [M, ...]: parameters, and the statistics of observations."""
        return {"parameters": self.parameters.detach().clone(), **(self.norm.state() if self.norm is not None else {})}

    def network_state(self, weights: Weights, member: int) -> dict[str, Tensor]:
        """A member's weights, as the state of the network of an `ActorCritic`."""
        parts = {**self.network.split(weights["parameters"]), **weights}
        return {name: part[member].clone() for name, part in parts.items() if name != "parameters"}

    @property
    def member_step(self) -> int:
        """Env steps of each member, the argument of all schedules."""
        return self.env_step // self.members

    def actor(
        self,
        num_envs: int,
        *,
        explore: bool,
        seed: Seed | Sequence[Seed],
        weights: Weights | None = None,
    ) -> PopulationActor:
        """An actor in M * N rows, N for each member; `seed` is one seed for all members or one for each.

        It acts with the learned weights, or with the given ones.
        """
        if num_envs % self.members:
            raise ValueError(f"num_envs must be a multiple of {self.members}, the number of members, got {num_envs}")
        given = seed if isinstance(seed, Sequence) else seed_sequence(seed).spawn(self.members)
        noise = self._make_noise([torch_seed(seed_sequence(one)) for one in given], self.device)
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
        if self.rollout.full:
            raise ValueError(f"the rollout of {self.rollout.steps} steps is full: learn before storing more")
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
        if step.episode_return is not None:
            ended = step.ended.view(self.members, -1)
            total = torch.where(ended, step.episode_return.view_as(ended), 0.0).sum(1)
            self.ended += torch.stack([ended.sum(1), total])
        self.env_step += step.num_active

    def updates_due(self, env_step: int) -> int:
        """1 once the rollout is full."""
        return int(self.rollout.full)

    def learn(self) -> Metrics:
        """All epochs and minibatches of a rollout, of all members at once; metrics are [M]."""
        self._settings.update(self._began)
        rate = self._settings.rate(self._began)
        if not isinstance(rate, Tensor):
            optimizers.set_learning_rate(self.optimizer, rate)
        metrics = self._learn() if self._captured is None else self._captured(self._order.generators)
        self.updates += self.config.epochs * self.config.minibatches
        self.rollout.clear()
        self._began = self.member_step
        return metrics

    def _learn(self) -> Metrics:
        metrics = Metrics()
        for batch in self._batches():
            grad, metrics = self._gradient(self.parameters.detach(), batch)
            self._clip(grad, metrics)
            self.parameters.grad = grad
            self._step()
        if self.norm is not None:  # last, so that learning sees the same policy that acted
            self.norm.update(obs_by_member(self.rollout.fields["obs"], self.members))
        return metrics

    def _clip(self, grad: Tensor, metrics: Metrics) -> None:
        """Clip the gradients [M, P] in place, each by its own norm."""
        config = self.config
        if config.max_grad_value is not None:
            grad.clamp_(-config.max_grad_value, config.max_grad_value)
        if config.max_grad_norm is not None:
            metrics["grad_norm"] = torch.linalg.vector_norm(grad, dim=1)
            grad.renorm_(2.0, 0, config.max_grad_norm)

    def _batches(self) -> Iterator[MemberSamples]:
        """The minibatches of all epochs; each member has its own order."""
        config, whole = self.config, self._samples()
        count = whole.old.advantage.shape[1]
        for _ in range(config.epochs):
            if config.minibatches == 1:
                yield whole
                continue
            order = self._order.uniform(count).argsort(1)  # [M, S]
            order += torch.arange(self.members, device=self.device).unsqueeze(1) * count
            for index in order.tensor_split(config.minibatches, 1):
                yield chosen(whole, index)

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

    def scheduled(self) -> dict[str, float]:
        """The settings that are the same for all members, at the current env step."""
        return self._settings.scheduled(self.member_step)

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer, statistics and counts, with the current rollout under "replay"."""
        return {
            "weights": self.weights(),
            "optimizer": {"state": copy.deepcopy(self.optimizer.state_dict()["state"])},
            "order": self._order.state_dict(),
            "scale": None if self.scale is None else self.scale.state_dict(),
            "ended": self.ended.clone(),
            "env_step": self.env_step,
            "updates": self.updates,
            "replay": {"rollout": self.rollout.state_dict(), "began": self._began},
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; without a "replay" a new rollout begins. ValueError for another number of members."""
        members = len(state["weights"]["parameters"])
        if members != self.members:
            raise ValueError(f"the state has {members} members, this population {self.members}")
        self.parameters.copy_(state["weights"]["parameters"])
        if self.norm is not None:
            self.norm.load(state["weights"])
        if self.scale is not None:
            self.scale.load_state_dict(state["scale"])
        optimizers.load_state(self.optimizer, state["optimizer"])
        self._order.load_state_dict(state["order"])
        self.ended.copy_(state["ended"])
        self.env_step, self.updates = state["env_step"], state["updates"]
        self.rollout.clear()
        self._began = self.member_step
        if "replay" in state:
            self.rollout.load_state_dict(state["replay"]["rollout"])
            self._began = state["replay"]["began"]
        if self._captured is not None:
            self._captured.forget()
