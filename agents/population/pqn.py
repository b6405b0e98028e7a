"""Many PQN agents on one device at once, each with its own seed and settings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents.base import Acted, Metrics, torch_seed
from gymnast.agents.maths import returns
from gymnast.agents.maths.td import allowed
from gymnast.agents.optim.compiled import Compiled
from gymnast.agents.population.base import Seed, Weights
from gymnast.agents.population.q_actor import MemberQActor
from gymnast.agents.population.rollouts import RolloutPopulation
from gymnast.agents.population.samples import MemberValueSamples, by_member, obs_by_member
from gymnast.agents.value.pqn_config import PQNConfig
from gymnast.agents.value.q_network import normed_q_network
from gymnast.agents.value.values import ScalarValues
from gymnast.envs.step import Obs, Step
from gymnast.networks.heads.q import QNetwork
from gymnast.networks.stacked.layers import flat
from gymnast.networks.stacked.q import StackedQNetwork


class PQNPopulation(RolloutPopulation[MemberValueSamples]):
    """M PQN agents: a member learns and, with the default `noise`, draws the same as a `PQN`."""

    defaults = PQNConfig()
    varied = ("learning_rate", "gamma", "td_lambda", "epsilon")
    network: StackedQNetwork

    def _prepare(self, seeds: Sequence[np.random.SeedSequence]) -> None:
        super()._prepare(seeds)
        action_space = self.action_space
        if not isinstance(action_space, spaces.Discrete):
            raise ValueError(f"pqn needs Discrete actions, got {action_space}; use ppo")
        self.first_action, self.actions = int(action_space.start), int(action_space.n)
        spawned = [seed.spawn(2) for seed in seeds]  # as in `PQN`
        self.network = StackedQNetwork(self._network_of(spawned[0][0]).to(self.device))
        self._build([flat(self._network_of(init)) for init, _ in spawned], max_grad_value=None)
        self._order = self._make_noise([order for _, order in spawned], self.device)
        self._gradient = Compiled(self.gradient) if self.config.compile else self.gradient

    def _network_of(self, seed: np.random.SeedSequence) -> QNetwork:
        generator = torch.Generator().manual_seed(torch_seed(seed))
        return normed_q_network(self.config.network, self.observation_space, self.actions, self.config, generator)

    def _begin(self, step: int) -> None:
        super()._begin(step)
        self._set_settings(step)  # epsilon is that of the step at which the rollout begins

    def actor(
        self,
        num_envs: int,
        *,
        explore: bool,
        seed: Seed | Sequence[Seed],
        weights: Weights | None = None,
    ) -> MemberQActor:
        eval_epsilon = self.config.eval_epsilon
        return MemberQActor(
            self.network,
            ScalarValues("mse"),
            self.parameters if weights is None else weights["parameters"],
            self._noise_of(num_envs, seed),
            epsilon=(lambda: self._settings.now["epsilon"]) if explore else (lambda: eval_epsilon),
            doubles=False,
            masks=self.config.action_masks,
            first_action=self.first_action,
        )

    @torch.no_grad()
    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        self._check_room()
        self.rollout.add(
            obs=obs,
            action=acted.raw,
            reward=step.reward,
            terminated=step.terminated,
            ended=step.ended,
            next_obs=step.next_obs,
            next_mask=step.next_action_mask if self.config.action_masks else None,
            active=step.active,
        )
        self._count(step)

    @torch.no_grad()
    def _samples(self) -> MemberValueSamples:
        fields, members = self.rollout.fields, self.members
        action, target = (by_member(part, members) for part in (fields["action"], self.targets()))
        return MemberValueSamples(obs_by_member(fields["obs"], members), action, target)

    def targets(self) -> Tensor:
        """Q(lambda) targets of the rollout's steps, [T, M * N], as in `PQN.targets`."""
        config, fields, now = self.config, self.rollout.fields, self._settings.now
        gamma, lam = (now[name].repeat_interleave(self.num_envs) for name in ("gamma", "td_lambda"))
        reward = fields["reward"].clamp(-1.0, 1.0) if config.clip_rewards else fields["reward"]
        discount = gamma * (1.0 - fields["terminated"].float())
        next_value = self._next_value()
        return returns.lambda_returns(reward * config.reward_scale, discount, next_value, fields["ended"], lam)

    def _next_value(self) -> Tensor:
        """The largest action values of the steps' successors, [T, M * N]; a row that allows none uses the first."""
        fields, members = self.rollout.fields, self.members
        q = self.network(self.parameters, obs_by_member(fields["next_obs"], members)).squeeze(3)  # [M, T * N, A]
        if "next_mask" in fields:
            mask = by_member(fields["next_mask"], members)
            action = allowed(q, mask).argmax(2, keepdim=True)
            value = q.gather(2, action).squeeze(2)
        else:
            value = q.amax(2)
        return value.view(members, self.rollout.steps, -1).transpose(0, 1).flatten(1)

    def gradient(self, parameters: Tensor, batch: MemberValueSamples) -> tuple[Tensor, Metrics]:
        """Gradients [M, P], each of a member's own loss, and metrics [M]."""

        def total(rows: Tensor) -> tuple[Tensor, Metrics]:
            loss, metrics = self.loss(rows, batch)
            return loss.sum(), metrics  # a member's loss depends only on its own row

        grad, (_, metrics) = torch.func.grad_and_value(total, has_aux=True)(parameters)
        return grad, metrics

    def loss(self, parameters: Tensor, batch: MemberValueSamples) -> tuple[Tensor, Metrics]:
        """Half the squared errors [M], and metrics [M]; every row counts."""
        q = self.network(parameters, batch.obs).squeeze(3)  # [M, B, A]
        value = q.gather(2, batch.action.unsqueeze(2)).squeeze(2)  # [M, B]
        loss = 0.5 * (value - batch.target).square().mean(1)
        return loss, {"loss": loss.detach(), "q": value.detach().mean(1)}
