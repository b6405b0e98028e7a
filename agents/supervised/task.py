"""What is fitted: a network over observations, its examples, its loss, and what it is judged by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import gymnasium as gym
import torch
from torch import Tensor, nn

from gymnast.agents.base import Agent, Metrics
from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.shown import Shown
from gymnast.networks.build import build
from gymnast.networks.layers.augment import random_shift
from gymnast.networks.layers.images import Layout
from gymnast.networks.layers.init import BATCH as LSUV_BATCH
from gymnast.networks.layers.init import initialise, lsuv
from gymnast.networks.layers.inputs import Obs
from gymnast.networks.modes import acting, has_dropout, with_dropout

HIDDEN = 256
"""Units of the layer between features and outputs in heads that have one."""
Outputs = dict[str, Tensor]
"""What an evaluation keeps of a batch: tensors whose first axis is the examples."""


@dataclass(frozen=True)
class Player:
    """A network that learns from a loss of its own, with an optimizer of its own."""

    name: str
    network: nn.Module
    loss: Callable[[Any, torch.Generator], tuple[Tensor, Metrics]]
    learning_rate: float
    every: int = 1
    """It learns at every so many updates of the run."""
    constrain: Callable[[], None] | None = None
    """Called after each of its updates, to change its weights in place."""


class FitNetwork(nn.Module):
    """A backbone, and the heads of a task over its features."""

    backbone: Any
    heads: Any

    def __init__(self, backbone: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads)


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn; None is the model's own choice."""

    steps: int | None = None
    """Steps of the Markov chain that ends in a sample."""
    temperature: float | None = None
    """Factor of the deviation, or divisor of the logits, of what is drawn."""
    label: int | None = None
    """Class or Discrete action of the samples."""


class Task(ABC):
    """A task over examples, which are numbered; a batch is what a loss needs of some of them.

    Raises:
        ValueError: data that the task cannot use, or a network that does not fit it.
    """

    name: ClassVar[str]
    Config: ClassVar[type[FitConfig]]
    metric: str
    """The measure of an evaluation that chooses the best checkpoint."""
    largest: bool = True
    """Whether a larger measure is better."""

    augments_vectors: ClassVar[bool] = False
    """Whether it has a way to change vectors at random too."""
    classifies: ClassVar[bool] = False
    """Whether its backbone may have auxiliary classifiers."""
    samples: ClassVar[bool] = True
    """Whether its predictions can be means of passes with dropout."""
    encodes: ClassVar[bool] = True
    """Whether its network has a backbone."""
    takes: ClassVar[tuple[str, ...]] = ()
    """What `prediction` takes, of obs, action and next_obs; nothing if the task predicts nothing."""
    sampling: ClassVar[tuple[str, ...]] = ()
    """The fields of `Sampling` that `drawn` reads."""
    draws: Sampling = Sampling()
    """How `drawn` samples."""
    latent_size: int
    """Numbers of a latent, of tasks that decode."""

    config: FitConfig
    network: nn.Module
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any] | None = None
    env: str | None = None
    """Id of the environment of the data."""
    env_settings: Mapping[str, Any] = MappingProxyType({})
    """Options under which `env` gives such observations."""
    least: ClassVar[int] = 1
    """Examples that each split needs."""
    train: Tensor
    """Numbers of the examples to learn from, int64 [N]."""
    validation: Tensor
    """Numbers of the examples that choose the best checkpoint, int64 [V]."""
    test: Tensor
    """Numbers of the examples of the final evaluation: the validation examples unless the data set has its own."""

    @abstractmethod
    def batch(self, index: Tensor) -> Any:
        """The examples int64 [B], on the network's device."""

    @abstractmethod
    def loss(self, batch: Any, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """The loss to minimise, and further numbers to log."""

    @abstractmethod
    def outputs(self, batch: Any) -> Outputs:
        """What an evaluation keeps of a batch."""

    @abstractmethod
    def measures(self, outputs: Outputs) -> dict[str, float]:
        """Numbers of an evaluation from everything that was kept, `metric` among them."""

    def players(self) -> tuple[Player, ...]:
        """The networks that learn, in the order of their steps within an update: one, unless a task says otherwise."""
        return (Player("network", self.network, self.loss, self.config.learning_rate),)

    def encode(self, obs: Obs) -> Tensor:
        """Latents or features [B, L] of a network that has a backbone."""
        backbone: Any = self.network.backbone
        features: Tensor = backbone(obs)
        return features

    def decode(self, latent: Tensor) -> Tensor | None:
        """What latents [B, L] are restored to, as `observed` takes it; None for a task that restores nothing."""
        return None

    def drawn(self, number: int, generator: torch.Generator) -> Tensor | None:
        """Samples as `observed` takes them; None for a task that fits no distribution over observations."""
        return None

    def observed(self, values: Tensor) -> Obs:
        """Observations [B, ...], numbers in their own units, from what `decode` and `drawn` give."""
        raise NotImplementedError(f"{self.name} neither decodes nor draws observations")

    def prediction(self, obs: Obs, action: Tensor | None, next_obs: Obs) -> dict[str, Obs]:
        """Predictions by name, their first axis that of the observations; what `takes` leaves out is None."""
        raise NotImplementedError(f"{self.name} predicts nothing")

    def agent(self) -> Agent | None:
        """The agent whose network is fitted, if the task fits a policy."""
        return None

    def shown(self, outputs: Outputs) -> dict[str, Shown]:
        """What pictures of an evaluation show, by name."""
        return {}

    def backbone_of(self, generator: torch.Generator) -> nn.Module:
        """The backbone that the config names, over the task's observations."""
        config = self.config
        backbone = build(
            config.network,
            self.observation_space,
            options=config.network_options,
            hidden_sizes=config.hidden_sizes,
            activation=config.activation,
            layer_norm=config.layer_norm,
            init=config.init,
            generator=generator,
            classifies=self.classifies,
        )
        if config.init == "lsuv":
            lsuv(backbone, self.inputs(self.train[:LSUV_BATCH]))
        return backbone

    @abstractmethod
    def inputs(self, index: Tensor) -> Obs:
        """Observations of the examples int64 [B], on the CPU."""

    def augmented(self, obs: Obs, generator: torch.Generator) -> Obs:
        """Observations of a training batch, changed at random if the config asks for it."""
        if self.config.augment == "none":
            return obs
        assert isinstance(obs, Tensor)  # `check_augment` has looked
        assert self.layout is not None
        pad = self.config.augment_pad or min(max(min(self.layout.planes[1:]) // 20, 1), 4)
        return random_shift(obs, pad, generator, is_last=self.layout.is_last)

    def check_augment(self) -> None:
        """ValueError if observations that are no images are to be shifted."""
        self.layout = Layout.of(self.observation_space, "auto")
        if self.config.augment != "none" and self.layout is None and not self.augments_vectors:
            raise ValueError(
                f"augment {self.config.augment} needs images [C, H, W] or [H, W, C], got {self.observation_space}"
            )
        if self.config.augment_pad is not None and self.layout is None:
            raise ValueError(f"augment_pad {self.config.augment_pad} has no effect on {self.observation_space}")

    def check_samples(self) -> None:
        """ValueError if passes with dropout are asked for, and the task or its network has none."""
        samples = self.config.mc_samples
        if samples and not self.samples:
            raise ValueError(f"mc_samples {samples} has no effect on {self.name}")
        network = self.network.backbone if isinstance(self.network, FitNetwork) else self.network
        if samples and not has_dropout(network):
            raise ValueError(f"mc_samples {samples} has no effect: network {self.config.network} has no dropout")


def linear_head(features: int, outputs: int, config: FitConfig, generator: torch.Generator) -> nn.Linear:
    """A last layer, its weights drawn as the config says."""
    head = nn.Linear(features, outputs)
    initialise(head, config.init, activation=None, generator=generator)
    return head


def hidden_head(inputs: int, outputs: int) -> nn.Sequential:
    """One hidden layer and a linear one."""
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs))


def predicted(network: nn.Module, predict: Callable[[], Tensor], samples: int) -> Tensor:
    """What a network predicts, or the mean of so many passes with dropout (Gal & Ghahramani 2016)."""
    if not samples:
        return predict()
    with with_dropout(network):
        return torch.stack([predict() for _ in range(samples)]).mean(0)


def ready(network: FitNetwork, device: torch.device) -> FitNetwork:
    """The network on its device, in evaluation mode."""
    return acting(network.to(device))
