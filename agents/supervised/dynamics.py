"""The task that fits a model of an environment: what follows an action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import gymnasium as gym
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional

from gymnast.agents.base import Metrics
from gymnast.agents.supervised import losses, measures
from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.episodes import OfEpisodes, Transitions, on
from gymnast.agents.supervised.losses import Regression
from gymnast.agents.supervised.momentum import Momentum
from gymnast.agents.supervised.scale import Scale
from gymnast.agents.supervised.source import Source
from gymnast.agents.supervised.task import FitNetwork, Outputs, predicted, ready
from gymnast.networks.layers.inputs import Obs, Vector
from gymnast.networks.layers.restored import from_vector

MOMENTUM = 0.99
"""Decay of averaged networks by default."""
SAMPLE = 10_000
"""Transitions from which the scale of what is predicted is taken."""


@dataclass(frozen=True)
class DynamicsConfig(FitConfig):
    """What follows an action: the next observation or its features, the reward, and whether the episode ends."""

    losses: ClassVar[tuple[str, ...]] = losses.REGRESSION

    loss: Regression = "auto"
    """Loss of the next observation; auto is mse, and cosine for features."""
    predict: Literal["auto", "obs", "features"] = "auto"
    """Predict the next observation, or the features of it that an average of the network gives; auto: of images."""
    reward_coef: float = 1.0
    """Weight of the squared error of the reward."""
    end_coef: float = 1.0
    """Weight of the cross-entropy of the end."""
    momentum: float = MOMENTUM
    """Decay of the averaged network that gives features."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.predict not in ("auto", "obs", "features"):
            raise ValueError(f"predict must be auto, obs or features, got {self.predict!r}")
        for name in ("reward_coef", "end_coef"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"momentum must be >= 0 and < 1, got {self.momentum}")
        if self.predict == "obs":
            self.check_obs()

    def check_obs(self) -> None:
        """ValueError for settings that belong to the prediction of features."""
        if self.momentum != MOMENTUM:
            raise ValueError(f"momentum {self.momentum} has no effect without predict features")
        if self.loss == "cosine":
            raise ValueError("loss cosine needs predict features: it does not see how much an observation changes")


class Dynamics(OfEpisodes):
    """Fits the next observation (its change) or its features, the reward and the end, after an action."""

    name, Config, metric = "dynamics", DynamicsConfig, "r2"
    config: DynamicsConfig
    reads_next = True
    takes = ("obs", "action")
    network: FitNetwork

    def __init__(self, source: Source, config: DynamicsConfig, *, device: torch.device) -> None:
        super().__init__(source, config, device=device)
        self.predicts = config.predict
        if config.predict == "auto":
            self.predicts = "features" if _is_image(self.observation_space) else "obs"
        if self.predicts == "obs":
            config.check_obs()
        self.kind = config.loss if config.loss != "auto" else ("mse" if self.predicts == "obs" else "cosine")
        backbone, action = self.backbone_of(self.generator), Vector(self.data.action_space)
        width = int(backbone.out_features)  # type: ignore[arg-type]
        heads: dict[str, nn.Module] = {"action": action}
        inputs = width + action.out_features
        if self.predicts == "features":
            heads["target"] = Momentum(backbone, config.momentum)
            outputs = width
        else:
            heads["vector"] = vector = Vector(self.observation_space)
            outputs = vector.out_features
            sample = self.train[: SAMPLE : max(len(self.train) // SAMPLE, 1)]
            change = vector(self.data.next_observations(sample)) - vector(self.data.observations(sample))
            heads["scale"] = Scale(change)
        heads |= {"next": self.head(inputs, outputs), "reward": self.head(inputs, 1), "end": self.head(inputs, 1)}
        heads["reward_scale"] = Scale(self.data.rewards[self.train].unsqueeze(1))
        self.network = ready(FitNetwork(backbone, heads), device)

    def batch(self, index: Tensor) -> Transitions:
        ends = torch.stack([self.data.rewards[index], self.data.terminated[index].float()], 1)
        return super().batch(index)._replace(target=on(ends, self.device))

    def predictions(self, obs: Obs, action: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The next observation's change or features [B, K], the reward [B, 1] (both scaled), the end's logit [B]."""
        heads = self.network.heads
        inputs = torch.cat([self.network.backbone(obs), heads["action"](action)], 1)
        return heads["next"](inputs), heads["reward"](inputs), heads["end"](inputs).squeeze(1)

    def averaged(self, obs: Obs, action: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The predictions, or their means over passes with dropout if the config asks for them."""

        def joined() -> Tensor:
            following, reward, end = self.predictions(obs, action)
            return torch.cat([following, reward, end.unsqueeze(1)], 1)

        found = predicted(self.network, joined, self.config.mc_samples)
        return found[:, :-2], found[:, -2:-1], found[:, -1]

    def prediction(self, obs: Obs, action: Tensor | None, next_obs: Obs) -> dict[str, Obs]:
        heads = self.network.heads
        following, reward, end = self.averaged(obs, action)
        found = {"reward": heads["reward_scale"].back(reward).squeeze(1), "end": end.sigmoid()}
        if self.predicts == "features":
            return {"features": following, **found}
        vector = heads["vector"](obs) + heads["scale"].back(following)
        return {"next_obs": from_vector(self.observation_space, vector), **found}

    def wanted(self, batch: Transitions, *, learn: bool) -> Tensor:
        """What the first prediction should be, [B, K]."""
        heads = self.network.heads
        if self.predicts == "features":
            if learn:
                heads["target"].follow(self.network.backbone)
            features: Tensor = heads["target"](batch.next_obs)
            return features
        change: Tensor = heads["scale"](heads["vector"](batch.next_obs) - heads["vector"](batch.obs))
        return change

    def loss(self, batch: Transitions, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        config = self.config
        following, reward, end = self.predictions(self.augmented(batch.obs, generator), batch.action)
        of_next = losses.regression(self.kind, following, self.wanted(batch, learn=True)).mean()
        of_reward = functional.mse_loss(reward, self.network.heads["reward_scale"](batch.target[:, :1]))
        of_end = functional.binary_cross_entropy_with_logits(end, batch.target[:, 1])
        loss = of_next + config.reward_coef * of_reward + config.end_coef * of_end
        return loss, {"next_loss": of_next, "reward_loss": of_reward, "end_loss": of_end}

    def outputs(self, batch: Transitions) -> Outputs:
        following, reward, end = self.averaged(batch.obs, batch.action)
        wanted = self.wanted(batch, learn=False)
        if self.predicts == "features":  # only directions are compared
            following, wanted = functional.normalize(following, dim=1), functional.normalize(wanted, dim=1)
        return {
            "error": (following - wanted).square().sum(1),
            "wanted": wanted.sum(0, keepdim=True),
            "square": wanted.square().sum(1),
            "reward": self.network.heads["reward_scale"].back(reward),
            "end": end,
            "target": batch.target,
        }

    def measures(self, outputs: Outputs) -> dict[str, float]:
        target, end = outputs["target"], outputs["end"]
        mean = outputs["wanted"].double().sum(0) / len(target)
        spread = outputs["square"].double().mean() - mean.square().sum()
        ended, likely = target[:, 1] > 0.5, end > 0
        found = {
            "r2": 1.0 - (outputs["error"].double().mean() / spread.clamp(min=1e-12)).item(),
            "reward_r2": measures.r2(outputs["reward"], target[:, :1]),
            "end_accuracy": (likely == ended).double().mean().item(),
        }
        if bool(ended.any()):
            found["end_recall"] = likely[ended].double().mean().item()
        return found


def _is_image(space: gym.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and len(space.shape) > 1
