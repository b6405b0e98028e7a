"""Many off-policy actor-critics on one device at once, each with its own seed and settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents.base import Acted, Metrics, torch_seed
from gymnast.agents.off_policy.config import OffPolicyActorCriticConfig
from gymnast.agents.off_policy.losses import Draws, Losses
from gymnast.agents.off_policy.networks import critic_network, policy_network
from gymnast.agents.off_policy.policies import entropy_of, policy_of
from gymnast.agents.population.base import Seed, Weights
from gymnast.agents.population.off_policy_actor import MemberOffPolicyActor
from gymnast.agents.population.parameters import MemberParameters
from gymnast.agents.population.temperature import MemberTemperature
from gymnast.agents.population.with_replay import ReplayPopulation
from gymnast.agents.schedules import ScheduleLike
from gymnast.envs.step import Obs, Step
from gymnast.networks.heads.critics import CriticNetwork, PolicyNetwork
from gymnast.networks.stacked.critics import StackedCritics, StackedPolicies
from gymnast.networks.stacked.layers import flat
from gymnast.replay.transitions import Batch


class OffPolicyPopulation(ReplayPopulation):
    """M off-policy actor-critics with Box actions: a member learns and draws the same as an `OffPolicyActorCritic`.

    `parameters` are the critics'.
    """

    defaults = OffPolicyActorCriticConfig()
    varied = ("learning_rate", "policy_learning_rate", "gamma", "tau", "exploration_noise", "target_entropy")
    network: StackedCritics
    _captured = None

    def _prepare(self, seeds: Sequence[np.random.SeedSequence]) -> None:
        config = self.config
        if not isinstance(self.action_space, spaces.Box):
            raise ValueError(f"a population of this agent needs Box actions, got {self.action_space}; use ppo or dqn")
        self.policy, self.bounds = policy_of(self.action_space, config, device=self.device)
        self.action_size = self.policy.noise_size
        init, replay, noise = zip(*(seed.spawn(3) for seed in seeds), strict=True)  # as in the single agent
        self._build_networks(init)
        self._build_temperature()
        self._noise = self._make_noise(noise, self.device)
        self._prepare_replay(replay)
        self._policy_metrics: Metrics = {}
        self._tau = torch.tensor(self._each("tau"), device=self.device).unsqueeze(1)  # [M, 1]

    def _variable(self) -> dict[str, ScheduleLike]:
        config = self.config
        deterministic = config.policy == "deterministic"
        if "exploration_noise" in self.vary and not deterministic:
            raise ValueError("exploration_noise cannot vary between members with policy stochastic, which has none")
        if "target_entropy" in self.vary and (deterministic or config.temperature != "auto"):
            raise ValueError("target_entropy can vary between members only with a learned temperature")
        return {"learning_rate": config.learning_rate, "exploration_noise": config.exploration_noise}

    def _build_networks(self, seeds: Sequence[np.random.SeedSequence]) -> None:
        """The critics and policies of all members, their targets, and their optimizers."""
        config = self.config
        made = [self._networks_of(seed) for seed in seeds]
        self.network = StackedCritics(made[0][0].to(self.device))
        self.policies = StackedPolicies(made[0][1])
        self._build([flat(critics) for critics, _ in made], max_grad_value=None)
        rates = self.vary.get("policy_learning_rate")
        if config.policy_learning_rate is None and rates is None:
            rates = self.vary.get("learning_rate")
        self.actors = MemberParameters(
            torch.stack([flat(policy) for _, policy in made]).to(self.device),
            config.optimizer,
            rate=config.learning_rate if config.policy_learning_rate is None else config.policy_learning_rate,
            rates=rates,
            eps=config.optimizer_eps,
        )
        self.target, self.target_policy = self.parameters.detach().clone(), self.actors.rows.detach().clone()
        """[M, P] each."""

    def _networks_of(self, seed: np.random.SeedSequence) -> tuple[CriticNetwork, PolicyNetwork]:
        generator, config = torch.Generator().manual_seed(torch_seed(seed)), self.config
        sizes = {"action_size": self.policy.noise_size, "choices": 1}
        critics = critic_network(config.network, self.observation_space, config, **sizes, generator=generator)
        features = int(critics.encoder.out_features)  # type: ignore[arg-type]
        return critics, policy_network(features, self.policy, config, generator=generator)

    def _build_temperature(self) -> None:
        config, default = self.config, entropy_of(self.action_space)
        targets = [default if target is None else float(target) for target in self._each("target_entropy")]
        rates = self.vary.get("learning_rate")
        self.temperature = MemberTemperature(config, targets=targets, rates=rates, device=self.device)

    def weights(self) -> Weights:
        return {**super().weights(), "policy": self.actors.rows.detach().clone()}

    @property
    def acts_at_random(self) -> bool:
        """Whether learning has not begun yet."""
        return self.member_step < self.pace.begins

    def actor(
        self,
        num_envs: int,
        *,
        explore: bool,
        seed: Seed | Sequence[Seed],
        weights: Weights | None = None,
    ) -> MemberOffPolicyActor:
        if explore:
            self.allocate()  # a replay that is too large is reported before training begins
        assert self.bounds is not None
        policies = self.policies.of(self.actors.rows.detach() if weights is None else weights["policy"])
        return MemberOffPolicyActor(
            lambda obs: policies(self.network.vector(obs)),
            self.policy,
            self.bounds,
            self._noise_of(num_envs, seed),
            members=self.members,
            draws=explore,
            config=self.config,
            at_random=lambda: self.acts_at_random,
            scale=self._noise_scale,
        )

    def _noise_scale(self) -> float | Tensor:
        """The current deviation of exploration noise, or one for each member, [M, 1, 1]."""
        if "exploration_noise" in self.vary:
            return self._settings.now["exploration_noise"].view(-1, 1, 1)
        return self._settings.schedules["exploration_noise"](self.member_step)

    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        assert acted.raw is not None
        self._add(obs, acted.raw, step, reward=step.reward)

    def learn(self) -> Metrics:
        """One update of each member from its own batch of the replay; metrics are [M]."""
        replay, due_at = self.allocate(), self.pace.step_of(self.updates)
        replay.sampler.anneal(due_at)
        self._set_settings(due_at)
        self.actors.set_rate(due_at)
        self.temperature.anneal(due_at)
        self.updates += 1
        batch = replay.sample()
        draws = self._draw()
        error, metrics = self._learn_critics(batch, draws)
        replay.sampler.update(batch.index, error)
        if self.updates % self.config.policy_period == 0:
            self._policy_metrics = self._learn_policies(batch, draws)
        if self.updates % self.config.target_period == 0:
            self._update_targets()
        return metrics | self._policy_metrics

    def _draw(self) -> Draws:
        numbers = self._noise.normal(2, self.config.batch_size, self.policy.noise_size)  # [M, 2, B, D]
        following, now = numbers.unbind(1)
        return Draws(following.flatten(0, 1), now.flatten(0, 1), None)

    def _losses(self, parameters: Tensor, actors: Tensor) -> Losses:
        """The losses of the rows of all members; gradients reach the parameters that need them."""
        networks: dict[str, Any] = {
            "online": self.network.of(parameters),
            "target": self.network.of(self.target),
            "network": self.policies.of(actors),
            "target_policy": self.policies.of(self.target_policy),
        }
        return Losses(self.config, self.policy, self.temperature.of_rows(self.config.batch_size), **networks)

    def _learn_critics(self, batch: Batch, draws: Draws) -> tuple[Tensor, Metrics]:
        """A step of the critics; the errors [M * B] and metrics."""
        losses = self._losses(self.parameters, self.actors.rows.detach())
        loss, error, prediction = losses.rows_of_critics(batch, draws)
        mean = self._of_members(loss * batch.weight)
        (grad,) = torch.autograd.grad(mean.sum(), self.parameters)  # a member's loss depends only on its own row
        metrics = {"loss": mean.detach(), "q": self._of_members(prediction.detach().mean((0, 2)))}
        self._apply(grad, metrics)
        return error, metrics

    def _learn_policies(self, batch: Batch, draws: Draws) -> Metrics:
        """A step of the policies and temperatures."""
        losses = self._losses(self.parameters.detach(), self.actors.rows)
        value, entropy = losses.rows_of_policy(batch, draws)
        loss = -self._of_members(value)
        (grad,) = torch.autograd.grad(loss.sum(), self.actors.rows)
        metrics = {"policy_loss": loss.detach()}
        if self.config.policy == "stochastic":
            metrics |= {"entropy": self._of_members(entropy), "temperature": self.temperature.value.flatten().clone()}
        if self.config.max_grad_norm is not None:
            metrics["grad_norm"] = torch.linalg.vector_norm(grad, dim=1)
        self.actors.step(grad, max_grad_norm=self.config.max_grad_norm)
        self.temperature.learn(entropy.view(self.members, -1))
        return metrics

    def _of_members(self, rows: Tensor) -> Tensor:
        """The mean of each member's rows: [M * B] to [M]."""
        return rows.view(self.members, -1).mean(1)

    @torch.no_grad()
    def _update_targets(self) -> None:
        self.target.lerp_(self.parameters, self._tau)
        if self.config.policy == "deterministic":
            self.target_policy.lerp_(self.actors.rows, self._tau)

    def scheduled(self) -> dict[str, float]:
        """As of any population with a replay, and the policies' learning rate and exploration noise."""
        rate, found = self.actors.rate(self.member_step), super().scheduled()
        if not isinstance(rate, Tensor):
            found["policy_learning_rate"] = rate
        noise = self._settings.schedules.get("exploration_noise")
        if self.config.policy == "deterministic" and noise is not None:
            found["exploration_noise"] = noise(self.member_step)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue learning, with the replay under "replay", whose tensors are its own."""
        return {
            **super().state_dict(),
            "actors": self.actors.state_dict(),
            "target": self.target.clone(),
            "target_policy": self.target_policy.clone(),
            "temperature": self.temperature.state_dict(),
            "noise": self._noise.state_dict(),
            "policy_metrics": {name: value.clone() for name, value in self._policy_metrics.items()},
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; without a "replay" learning begins again once `learning_starts` steps are stored."""
        super().load_state_dict(state)
        self.actors.load_state_dict(state["actors"])
        self.target.copy_(state["target"])
        self.target_policy.copy_(state["target_policy"])
        self.temperature.load_state_dict(state["temperature"])
        self._noise.load_state_dict(state["noise"])
        self._policy_metrics = {name: value.to(self.device) for name, value in state["policy_metrics"].items()}
