"""Tasks that fit numbers of transitions, and the actions between observations."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents.base import Metrics
from gymnast.agents.supervised import losses, measures
from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.episodes import OfEpisodes, Transitions
from gymnast.agents.supervised.imitation import raw_of, same
from gymnast.agents.supervised.losses import Elementwise
from gymnast.agents.supervised.reward_network import RewardNetwork
from gymnast.agents.supervised.scale import Scale
from gymnast.agents.supervised.shown import Scatter, Shown
from gymnast.agents.supervised.source import Source
from gymnast.agents.supervised.task import FitNetwork, Outputs, linear_head, predicted, ready
from gymnast.networks.distributions.distributions import Distribution, distribution
from gymnast.networks.layers.inputs import Obs, Vector


@dataclass(frozen=True)
class ValueConfig(FitConfig):
    """The discounted return from an observation, under the policy of the data."""

    losses: ClassVar[tuple[str, ...]] = tuple(losses.ELEMENTWISE)

    loss: Elementwise = "auto"
    """Loss; auto is mse."""
    gamma: float = 0.99
    """Discount of one step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.gamma <= 1.0:
            raise ValueError(f"gamma must be between 0 and 1, got {self.gamma}")


@dataclass(frozen=True)
class RewardConfig(FitConfig):
    """The reward of an action after an observation."""

    losses: ClassVar[tuple[str, ...]] = tuple(losses.ELEMENTWISE)

    loss: Elementwise = "auto"
    """Loss; auto is mse."""


@dataclass(frozen=True)
class InverseDynamicsConfig(FitConfig):
    """The action between two observations (Pathak et al. 2017)."""

    losses: ClassVar[tuple[str, ...]] = ("nll",)

    loss: Literal["auto", "nll"] = "auto"
    """Negative log-likelihood of the action."""


class Numbers(OfEpisodes):
    """What tasks share that predict one number for each transition."""

    metric, largest = "mse", False
    network: FitNetwork
    numbers: Tensor
    """The number of each transition, float32 [S]."""

    def scaled(self) -> nn.Module:
        """The mean and the deviation of the training targets."""
        return Scale(self.numbers[self.train].unsqueeze(1))

    def batch(self, index: Tensor) -> Transitions:
        return super().batch(index)._replace(target=self.numbers[index].unsqueeze(1).to(self.device))

    @abstractmethod
    def output(self, obs: Obs, action: Tensor | None) -> Tensor:
        """The prediction [B, 1], in units of the training targets' deviation."""

    def numbers_of(self, obs: Obs, action: Tensor | None) -> Tensor:
        """The prediction [B, 1], of several passes with dropout the mean."""
        output = predicted(self.network, lambda: self.output(obs, action), self.config.mc_samples)
        found: Tensor = self.network.heads["scale"].back(output)
        return found

    def prediction(self, obs: Obs, action: Tensor | None, next_obs: Obs) -> dict[str, Obs]:
        return {self.name: self.numbers_of(obs, action).squeeze(1)}

    def loss(self, batch: Transitions, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        output = self.output(self.augmented(batch.obs, generator), batch.action)
        wanted = self.network.heads["scale"](batch.target)
        return losses.regression(self.config.chosen_loss, output, wanted).mean(), {}

    def outputs(self, batch: Transitions) -> Outputs:
        return {"output": self.numbers_of(batch.obs, batch.action), "target": batch.target}

    def measures(self, outputs: Outputs) -> dict[str, float]:
        return measures.of_numbers(outputs["output"], outputs["target"])

    def shown(self, outputs: Outputs) -> dict[str, Shown]:
        return {"regression": Scatter(outputs["output"], outputs["target"])}


class Value(Numbers):
    """Fits the discounted returns of the recorded episodes; one that was cut off counts to where it ends."""

    name, Config = "value", ValueConfig
    takes = ("obs",)
    config: ValueConfig

    def __init__(self, source: Source, config: ValueConfig, *, device: torch.device) -> None:
        super().__init__(source, config, device=device)
        self.numbers = self.data.returns(config.gamma)
        backbone = self.backbone_of(self.generator)
        head = linear_head(int(backbone.out_features), 1, config, self.generator)  # type: ignore[arg-type]
        self.network = ready(FitNetwork(backbone, {"value": head, "scale": self.scaled()}), device)

    def output(self, obs: Obs, action: Tensor | None) -> Tensor:
        found: Tensor = self.network.heads["value"](self.network.backbone(obs))
        return found


class Reward(Numbers):
    """Fits the rewards of observations and actions."""

    name, Config = "reward", RewardConfig
    takes = ("obs", "action")
    config: RewardConfig

    def __init__(self, source: Source, config: RewardConfig, *, device: torch.device) -> None:
        super().__init__(source, config, device=device)
        self.numbers = self.data.rewards
        backbone, action = self.backbone_of(self.generator), Vector(self.data.action_space)
        head = self.head(int(backbone.out_features) + action.out_features, 1)  # type: ignore[arg-type]
        self.network = ready(RewardNetwork(backbone, head, action, self.scaled()), device)

    def output(self, obs: Obs, action: Tensor | None) -> Tensor:
        found: Tensor = self.network(obs, action)
        return found


class ActionHead(nn.Module):
    """Features [B, F] to the inputs [B, P + scales] of a distribution, whose log standard deviations are parameters.

    They do not depend on the features, as a policy's do not: else the likelihood of an action that is predicted almost
    exactly grows without limit.
    """

    def __init__(self, layers: nn.Module, scales: int) -> None:
        super().__init__()
        self.layers = layers
        self.log_std = nn.Parameter(torch.zeros(scales)) if scales else None

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.layers(features)
        return output if self.log_std is None else torch.cat([output, self.log_std.expand(len(output), -1)], 1)


class InverseDynamics(OfEpisodes):
    """Fits the actions between observations and their successors."""

    name, Config = "inverse-dynamics", InverseDynamicsConfig
    takes = ("obs", "next_obs")
    reads_next = True
    network: FitNetwork

    def __init__(self, source: Source, config: InverseDynamicsConfig, *, device: torch.device) -> None:
        super().__init__(source, config, device=device)
        self.distribution: Distribution = distribution(self.data.action_space, device=device)
        self.discrete = not isinstance(self.action_space, spaces.Box)
        self.metric, self.largest = ("accuracy", True) if self.discrete else ("nll", False)
        backbone = self.backbone_of(self.generator)
        head = self.head(2 * int(backbone.out_features), self.distribution.outputs)  # type: ignore[arg-type]
        self.network = ready(FitNetwork(backbone, {"action": ActionHead(head, self.distribution.scales)}), device)

    def batch(self, index: Tensor) -> Transitions:
        batch = super().batch(index)
        return batch._replace(target=raw_of(self.action_space, batch.action))

    def output(self, obs: Obs, next_obs: Obs) -> Tensor:
        """The inputs [B, P] of the distribution over the action."""
        backbone = self.network.backbone
        found: Tensor = self.network.heads["action"](torch.cat([backbone(obs), backbone(next_obs)], 1))
        return found

    def loss(self, batch: Transitions, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        output = self.output(self.augmented(batch.obs, generator), self.augmented(batch.next_obs, generator))
        return -self.distribution.log_prob(output, batch.target).mean(), {}

    def averaged(self, obs: Obs, next_obs: Obs) -> Tensor:
        """The inputs [B, P] of the distribution, of several passes with dropout the mean."""
        return predicted(self.network, lambda: self.output(obs, next_obs), self.config.mc_samples)

    def prediction(self, obs: Obs, action: Tensor | None, next_obs: Obs) -> dict[str, Obs]:
        return {"action": self.distribution.to_env(self.distribution.mode(self.averaged(obs, next_obs)))}

    def outputs(self, batch: Transitions) -> Outputs:
        output = self.averaged(batch.obs, batch.next_obs)
        return {
            "log_prob": self.distribution.log_prob(output, batch.target),
            "mode": self.distribution.mode(output),
            "target": batch.target,
        }

    def measures(self, outputs: Outputs) -> dict[str, float]:
        found = {"nll": -outputs["log_prob"].double().mean().item()}
        if not self.discrete:
            return {**found, "r2": measures.r2(outputs["mode"], outputs["target"])}
        right = same(outputs["mode"], outputs["target"]).double().mean().item()
        return {**found, "accuracy": right, "perplexity": measures.perplexity(outputs["log_prob"])}
