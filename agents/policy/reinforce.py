"""REINFORCE (Williams 1992): the policy gradient of whole episodes, with a choice of baselines."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Acted, Metrics, seed_sequence, torch_seed
from gymnast.agents.encoder import rates_at, set_rates
from gymnast.agents.maths import means, policy_gradient
from gymnast.agents.optim import optimizers, regularise
from gymnast.agents.optim.phases import Part
from gymnast.agents.optim.update import Update
from gymnast.agents.policy.actor_critic_network import actor_critic_network
from gymnast.agents.policy.intrinsic import build_intrinsic
from gymnast.agents.policy.novelty import Experience
from gymnast.agents.policy.policy_actor import PolicyActor
from gymnast.agents.policy.policy_decision import DecidesByPolicy
from gymnast.agents.policy.reinforce_batch import EpisodeBatch, batch_of, returns_of
from gymnast.agents.policy.reinforce_config import ReinforceConfig
from gymnast.agents.policy.reward_scale import RewardScale
from gymnast.agents.prediction import Predicts
from gymnast.agents.schedules import schedule
from gymnast.envs.step import Obs, Step, map_obs
from gymnast.networks.build import Backbone, settled
from gymnast.networks.distributions.distributions import distribution
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.fast.policy_backward import plain_policy
from gymnast.replay.episode_buffer import EpisodeBuffer


class Reinforce(DecidesByPolicy, Predicts):
    """A policy that learns from whole episodes: the agent, without environment, loop or logger.

    The gradient is that of the mean over episodes of the sum over their steps of log pi(a|s) * (return - baseline),
    without the factor gamma**t of the discounted objective, as is usual. It is unbiased with each baseline: the mean
    of returns is that of earlier updates, and a value does not depend on the action.

    With several environments, episodes that are unfinished at an update keep their steps for a later one. An earlier
    policy then chose part of the steps: their gradient uses the current log-probabilities, without correction. With one
    environment the current policy chose every step. The return of a truncated episode includes the value of its final
    observation if the baseline is a value; otherwise it is the sum up to the truncation.

    Raises:
        ValueError: for unsupported spaces.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: ReinforceConfig | None = None,
        *,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        seed: int | np.random.SeedSequence = 0,
        network: Backbone | None = None,
    ) -> None:
        self.observation_space: gym.Space[Any] = observation_space
        self.action_space: gym.Space[Any] = action_space
        self.config, wanted = settled(config or ReinforceConfig(), network)
        config = self.config
        self.num_envs, self.device = num_envs, torch.device(device)
        self.env_step = self.updates = 0
        self.learning_rate = schedule(config.learning_rate, name="learning_rate")
        self.encoder_rate = config.encoder_schedule
        self.entropy_coef = schedule(config.entropy_coef, name="entropy_coef")
        self.distribution = distribution(action_space, squash=config.squash, device=self.device)
        init_seed, intrinsic_seed = seed_sequence(seed).spawn(2)
        own = observation_space, action_space
        self.intrinsic = build_intrinsic(
            config.intrinsic, *own, num_envs=num_envs, device=self.device, seed=intrinsic_seed
        )
        self._intrinsic_scale = None
        gammas, coefs = [config.gamma], [1.0]
        if self.intrinsic is not None:
            gammas, coefs = [*gammas, config.intrinsic_gamma], [*coefs, config.intrinsic_coef]
            self._intrinsic_scale = RewardScale(config.intrinsic_gamma, num_envs, device=self.device)
        self._gamma, self._coef = torch.tensor(gammas, device=self.device), torch.tensor(coefs, device=self.device)
        self.mean_return = torch.zeros_like(self._gamma)
        """[V], the running mean of the returns that weighted actions."""
        self.buffer = EpisodeBuffer(num_envs, device=self.device)
        self.has_value = config.baseline == "value"
        self._build_network(wanted, init_seed)

    def _build_network(self, backbone: Backbone, seed: np.random.SeedSequence) -> None:
        """The network and its optimizer."""
        config = self.config
        self.network = actor_critic_network(
            backbone,
            self.observation_space,
            self.distribution,
            config if self.has_value else replace(config, trunk="shared"),  # an unused value has no trunk
            torch.Generator().manual_seed(torch_seed(seed)),
            num_values=len(self._gamma),
        ).to(self.device)
        self.weights = FlatParameters(self.network, apart=self.network.backbones if self.encoder_rate else ())
        self.plain = None if config.compile else plain_policy(self.network, self.weights)
        """A faster form of the network, if it has one."""
        self._entropy_coef = torch.zeros((), device=self.device)
        self.optimizer = optimizers.of_agent(config, self.weights, self.learning_rate(0))
        self._update = Update(
            self.loss,
            self.weights,
            self.optimizer,
            max_grad_norm=config.max_grad_norm,
            max_grad_value=config.max_grad_value,
            compile=config.compile,
            regulariser=regularise.regulariser(config, self.weights),
        )

    def load_encoder(self, weights: Mapping[str, Tensor], norm: Mapping[str, Tensor] | None) -> None:
        """Load an encoder's weights into each trunk, and the statistics of its observations."""
        self.network.load_backbones(weights, norm)

    def actor(self, num_envs: int, *, explore: bool, seed: int | np.random.SeedSequence) -> PolicyActor:
        """Draws actions with `explore`, else takes the most probable ones (or draws, with `eval_sample`)."""
        return PolicyActor(self, num_envs, draws=explore or self.config.eval_sample, seed=seed)

    def predicting_actor(
        self, num_envs: int, *, deterministic: bool, seed: int | np.random.SeedSequence
    ) -> PolicyActor:
        """Takes the most probable actions, or draws them."""
        return PolicyActor(self, num_envs, draws=not deterministic, seed=seed)

    @torch.no_grad()
    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        reward = step.reward.clamp(-1.0, 1.0) if self.config.clip_rewards else step.reward
        self.buffer.add(
            obs=obs,
            raw=acted.raw,
            mask=acted.mask,
            reward=reward.unsqueeze(1)
            if self.intrinsic is None
            else torch.stack([reward, self._novelty(obs, acted.action, step)], 1),
            next_obs=step.next_obs if self.intrinsic is not None and self.intrinsic.needs_successors else None,
            bootstrap=self._bootstrap(acted, step) if self.has_value else None,
            ended=step.ended,
            num_ended=step.num_ended,
            active=step.active,
        )
        self.env_step += step.num_active

    def cut_off(self, rows: Sequence[int]) -> None:
        """Their steps are dropped: REINFORCE learns from whole episodes."""
        self.buffer.drop(rows)
        if self.intrinsic is not None:
            self.intrinsic.cut_off(rows)

    def _novelty(self, obs: Obs, action: Tensor, step: Step) -> Tensor:
        """The scaled novelty reward, [N]."""
        assert self.intrinsic is not None
        assert self._intrinsic_scale is not None
        found = self.intrinsic.reward(obs, action, step)
        count = torch.ones_like(found) if step.active is None else step.active.float()
        return self._intrinsic_scale(*(part.unsqueeze(0) for part in (found, step.ended, count)))[0]

    def _bootstrap(self, acted: Acted, step: Step) -> Tensor:
        """The value of the final observation if an episode was truncated, else 0; [N, V]."""
        if step.num_ended == 0:
            return torch.zeros((self.num_envs, len(self._gamma)), device=self.device)
        if acted.next_memory is None:
            _, value = (self.plain or self.network)(step.next_obs)
        else:
            _, value, _ = self.network.step(step.next_obs, acted.next_memory)
        return torch.where((step.truncated & ~step.terminated).unsqueeze(1), value, 0.0)

    def updates_due(self, env_step: int) -> int:
        """1 once enough episodes are finished."""
        return int(len(self.buffer.lengths) >= self.config.episodes)

    def learn(self) -> Metrics:
        """One step of the optimizer on all steps of the finished episodes."""
        config = self.config
        set_rates(self.optimizer, self.env_step, self.learning_rate, self.encoder_rate)
        self._entropy_coef.fill_(self.entropy_coef(self.env_step))
        fields, lengths = self.buffer.take()
        to_go, total = returns_of(fields, lengths, self._gamma)
        weighing = to_go if config.returns == "to-go" else total
        relative = weighing - self.mean_return if config.baseline == "mean" else weighing
        size = self.network.memory_size
        batch = batch_of(fields, lengths, relative, to_go, memory_size=size, fill=config.compile)
        _, metrics = self._update(batch, None)
        self.updates += 1
        if config.baseline == "mean":
            metrics["baseline"] = self.mean_return[0].clone()
        rate = max(config.baseline_rate, 1.0 / self.updates)
        self.mean_return.lerp_(weighing.mean(0), rate)  # after the update, whose own returns would bias it
        if self.intrinsic is not None:
            as_row = partial(torch.unsqueeze, dim=0)
            next_obs = map_obs(as_row, fields["next_obs"]) if "next_obs" in fields else None
            metrics["intrinsic_reward"] = fields["reward"][:, 1].mean()
            experience = Experience(
                map_obs(as_row, fields["obs"]),
                as_row(torch.ones_like(to_go[:, 0])),
                as_row(self.distribution.to_env(fields["raw"])),
                next_obs,
            )
            metrics |= self.intrinsic.learn(experience)
        if self.network.norm is not None:  # last, so that learning sees the same policy that acted
            self.network.norm.update(fields["obs"])
        return metrics

    def update_parts(self) -> Iterator[Part]:
        yield Part(self.buffer, "take", "sample")
        yield from self._update.update_parts()
        if self.intrinsic is not None:
            yield from self.intrinsic.update_parts()

    def loss(self, batch: EpisodeBatch, noise: Tensor | None) -> tuple[Tensor, Tensor, Metrics]:
        """Loss [], the advantages [B], and metrics, means over steps (Williams 1992, section 4)."""
        config, weight = self.config, batch.weight
        if batch.start is None or batch.memory is None:
            output, value = (self.plain or self.network)(batch.obs)
        else:
            output, value = self.network.sequence(batch.obs, batch.start, batch.memory)
        if batch.mask is not None:
            output = self.distribution.masked(output, batch.mask)
        log_prob, entropy = self.distribution.log_prob_entropy(output, batch.raw)
        advantage = (batch.weighing - value.detach() if self.has_value else batch.weighing) @ self._coef
        if config.normalise_advantages:
            advantage = policy_gradient.normalised(advantage, weight)
        policy = policy_gradient.policy_gradient_loss(log_prob, advantage, weight)
        spread = policy_gradient.entropy_loss(entropy, weight)
        loss = policy + self._entropy_coef * spread
        metrics = {"policy_loss": policy, "entropy": -spread}
        if self.has_value:
            value_loss = 0.5 * weight @ (value - batch.target).square().sum(1)
            loss = loss + config.value_coef * value_loss
            explained = means.explained_variance(value[:, 0].detach(), batch.target[:, 0], weight)
            metrics |= {"value_loss": value_loss, "explained_variance": explained}
        metrics["loss"] = loss
        # From the mean over steps to the mean over episodes of their sums.
        return batch.length * loss, advantage, {name: number.detach() for name, number in metrics.items()}

    def scheduled(self) -> dict[str, float]:
        """Learning rate and entropy coefficient at the current env step."""
        rates = rates_at(self.env_step, self.learning_rate, self.encoder_rate)
        return {**rates, "entropy_coef": self.entropy_coef(self.env_step)}

    def state_dict(self) -> dict[str, Any]:
        """Network, optimizer, statistics and counts, with the steps not yet learned from under "replay"."""
        state: dict[str, Any] = {
            "network": copy.deepcopy(dict(self.network.state_dict())),
            "optimizer": optimizers.state_of(self.optimizer, self.weights),
            "mean_return": self.mean_return.clone(),
            "env_step": self.env_step,
            "updates": self.updates,
        }
        for name, part in self._parts().items():
            state[name] = part.state_dict()
        return {**state, "replay": self.buffer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; without "replay" no steps are pending."""
        self.network.load_state_dict(state["network"])
        optimizers.load_state(self.optimizer, state["optimizer"], self.weights)
        self.mean_return.copy_(state["mean_return"])
        self.env_step, self.updates = state["env_step"], state["updates"]
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.buffer.clear()
        if "replay" in state:
            self.buffer.load_state_dict(state["replay"])

    def _parts(self) -> dict[str, Any]:
        """Optional parts with their own state."""
        parts = {"intrinsic_scale": self._intrinsic_scale, "intrinsic": self.intrinsic}
        return {name: part for name, part in parts.items() if part is not None}
