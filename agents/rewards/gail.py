"""Generative adversarial imitation learning (Ho & Ermon 2016): the reward of a discriminator of expert and policy."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents.base import LearningError, Metrics, restore_generator, torch_seed
from gymnast.agents.maths import adversarial
from gymnast.agents.optim import optimizers
from gymnast.agents.optim.phases import Part
from gymnast.agents.optim.update import Update
from gymnast.agents.rewards.base import Played, by_parts, mean_of
from gymnast.agents.rewards.config import PENALTIES, Regulariser
from gymnast.agents.rewards.discriminator import Discriminator
from gymnast.agents.rewards.passes import Passes
from gymnast.envs.step import Obs, map_obs
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.layers.blocks import constrain
from gymnast.networks.modes import acting
from gymnast.replay.datasets.episodes import EpisodeData


class Pairs(NamedTuple):
    """As many transitions of the expert and of the policy, B of each."""

    expert: tuple[Obs, Tensor]
    """Observations [B, ...] and actions [B, ...]."""
    policy: tuple[Obs, Tensor]


class Gail:
    """Learns to tell an expert's transitions from a rollout's, and rewards those that look like the expert's.

    The expert's transitions come in passes over all of them, in a random order. `imitate` takes them; only learning
    needs them.

    Raises:
        ValueError: spaces that the discriminator does not fit.
    """

    def __init__(
        self,
        config: Any,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        *,
        device: torch.device,
        seed: np.random.SeedSequence,
    ) -> None:
        self.config, self.device = config, device
        self.regulariser = _regulariser(config.gail_regulariser, observation_space)
        *seeds, mixing = map(torch_seed, seed.spawn(4))
        init, expert, policy = (torch.Generator().manual_seed(each) for each in seeds)
        self.network = Discriminator(
            observation_space,
            action_space,
            network=config.gail_network,
            hidden_sizes=config.gail_hidden_sizes,
            generator=init,
        )
        if self.regulariser == "spectral":
            constrain(self.network, "spectral", linear=True)
        acting(self.network.to(device))
        self.weights = FlatParameters(self.network)
        self.optimizer = optimizers.build("adam", self.weights.parameter, lr=config.gail_learning_rate)
        self._update = Update(self.loss, self.weights, self.optimizer, max_grad_norm=None, max_grad_value=None)
        self.expert_order, self.policy_order = Passes(expert), Passes(policy)
        self.mixing = torch.Generator(device).manual_seed(mixing)
        self.expert: EpisodeData | None = None
        self.count = 0
        """Transitions of the expert."""

    def imitate(self, data: EpisodeData) -> None:
        """Take the expert's episodes; ValueError if there are too few, or the penalty has no gradient."""
        wanted = self.config.gail_episodes or data.episodes
        if wanted > data.episodes:
            raise ValueError(f"gail_episodes {wanted} are more than the {data.episodes} of data set {data.name}")
        self.expert, self.count = data, int(data.starts[wanted])
        self.expert_rate = _rate(data.terminated[: self.count].sum(), self.count).to(self.device)
        if self.regulariser in PENALTIES:
            self._check_gradient()

    def _check_gradient(self) -> None:
        """ValueError if the gradient of a logit cannot be differentiated again (fused attention, cuDNN's LSTM)."""
        assert self.expert is not None
        first, device = torch.zeros(1, dtype=torch.int64), self.device
        obs = map_obs(lambda part: part.to(device), self.expert.observations(first))
        seen = self.network.seen(obs, self.expert.actions(first).to(device))
        try:
            squared = self.network.squared_gradient(*seen).sum()
            torch.autograd.grad(squared, list(self.network.parameters()), allow_unused=True)
        except RuntimeError as error:
            raise ValueError(
                f"gail_regulariser {self.regulariser} needs second derivatives, which gail_network "
                f"{self.config.gail_network} does not have; spectral does not need them"
            ) from error

    def __call__(self, played: Played) -> tuple[Tensor, Metrics]:
        """Learn from a rollout, then give the rewards of its transitions."""
        rows = played.weight.nonzero().squeeze(1)
        if not len(rows):  # a rollout of steps that only began episodes
            return torch.zeros_like(played.weight), {}
        metrics = self._learn(played, rows)
        with torch.no_grad():
            reward, more = self._reward(by_parts(self.network, played), played, rows)
        return reward, {**metrics, **more, "learned_reward": mean_of(reward, played)}

    def _reward(self, logit: Tensor, played: Played, rows: Tensor) -> tuple[Tensor, Metrics]:
        """The rewards of logits, both [B]; that of an end is the sum of all rewards after it, and has no bootstrap."""
        form = self.config.gail_reward
        if not self.config.gail_absorbing:
            return adversarial.discriminator_reward(logit, form), {}
        forever = self.config.gamma / (1.0 - self.config.gamma)  # discounted visits of the absorbing state
        rate = _rate(played.terminated[rows].sum(), len(rows))
        logit, absorbing = adversarial.with_absorbing(logit, forever * self.expert_rate, forever * rate)
        ended = adversarial.discriminator_reward(absorbing, form)
        reward = adversarial.discriminator_reward(logit, form) + forever * ended * played.terminated
        return reward, {"absorbing_reward": ended}

    def update_parts(self) -> Iterator[Part]:
        yield from self._update.update_parts()

    def _learn(self, played: Played, rows: Tensor) -> Metrics:
        """All updates of a rollout, from its rows int64 [R]; the mean of their metrics."""
        if self.expert is None:
            raise LearningError(
                f"gail {self.config.gail}: the expert's episodes are missing; gymnast.train reads them, and your own "
                "loop passes them: agent.learned_reward.imitate(read_dataset(name))"
            )
        found: list[Metrics] = []
        for _ in range(self.config.gail_updates):
            chosen = rows[self.policy_order.draw(self.config.gail_batch_size, len(rows)).to(self.device)]
            policy = map_obs(lambda part: part[chosen], played.obs), played.action[chosen]  # noqa: B023
            pairs = Pairs(self._expert(), policy)
            for side in (pairs.expert, pairs.policy):
                self.network.count(*side)
            found.append(self._update(pairs, None)[1])
        self.policy_order.restart()
        return {name: torch.stack([each[name] for each in found]).mean() for name in found[0]}

    def _expert(self) -> tuple[Obs, Tensor]:
        """The next of the expert's observations and actions."""
        assert self.expert is not None
        index = self.expert_order.draw(self.config.gail_batch_size, self.count)
        obs, device = self.expert.observations(index), self.device
        return map_obs(lambda part: part.to(device), obs), self.expert.actions(index).to(device)

    def loss(self, pairs: Pairs, noise: Tensor | None) -> tuple[Tensor, Tensor, Metrics]:
        """The discriminator's loss [] with its penalty, its logits [2 B], and metrics."""
        network, config = self.network, self.config
        expert, policy = (network.seen(*side) for side in (pairs.expert, pairs.policy))
        logits = network.judge(_joined(expert[0], policy[0]), torch.cat([expert[1], policy[1]]))
        of_expert, of_policy = logits.tensor_split(2)
        loss = adversarial.discriminator_loss(of_expert, of_policy)
        metrics = {
            "discriminator_loss": loss.detach(),
            "discriminator_accuracy": adversarial.accuracy(of_expert.detach(), of_policy.detach()),
        }
        if self.regulariser in PENALTIES:
            penalty = self._penalty(expert, policy)
            loss = loss + config.gail_penalty * penalty
            metrics["discriminator_penalty"] = penalty.detach()
        return loss, logits, metrics

    def _penalty(self, expert: tuple[Any, Tensor], policy: tuple[Any, Tensor]) -> Tensor:
        """The unweighted penalty [] of the regulariser."""
        if self.regulariser == "r1":
            return adversarial.r1_penalty(self.network.squared_gradient(*expert))
        share = torch.rand(len(expert[1]), generator=self.mixing, device=self.device)
        points = (_between(*parts, share) for parts in zip(expert, policy, strict=True))
        return adversarial.gradient_penalty(self.network.squared_gradient(*points))

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": copy.deepcopy(dict(self.network.state_dict())),
            "optimizer": optimizers.state_of(self.optimizer, self.weights),
            "expert_order": self.expert_order.state_dict(),
            "policy_order": self.policy_order.state_dict(),
            "mixing": self.mixing.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        optimizers.load_state(self.optimizer, state["optimizer"], self.weights)
        self.expert_order.load_state_dict(state["expert_order"])
        self.policy_order.load_state_dict(state["policy_order"])
        restore_generator(self.mixing, state["mixing"])


def _regulariser(name: Regulariser, observation_space: gym.Space[Any]) -> Regulariser:
    """What `auto` is; ValueError for a gradient that the observations do not have."""
    is_box = isinstance(observation_space, spaces.Box)
    if name == "auto":
        return "gradient" if is_box else "spectral"
    if name in PENALTIES and not is_box:
        raise ValueError(f"gail_regulariser {name} needs Box observations, got {observation_space}; spectral takes any")
    return name


def _rate(ends: Tensor, count: int) -> Tensor:
    """The share [] of transitions that end an episode; half an end more, of which the logarithm is finite."""
    return (ends.float() + 0.5) / (count + 1)


def _joined(one: Obs, other: Obs) -> Obs:
    """Two batches one after the other."""
    if isinstance(one, dict):
        assert isinstance(other, dict)
        return {key: _joined(part, other[key]) for key, part in one.items()}
    assert isinstance(other, Tensor)
    return torch.cat([one, other])


def _between(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Points [B, ...] between two batches, by the share [B] of the first."""
    share = share.view(-1, *[1] * (one.dim() - 1))
    return share * one.float() + (1.0 - share) * other.float()
